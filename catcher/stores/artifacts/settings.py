"""Where artifacts are stored, and the credentials for that."""

from __future__ import annotations

from dataclasses import dataclass, field

from catcher.model.errors import CatcherError


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """Where artifacts are kept: a folder's path, `file://…`, `s3://bucket/prefix`, `memory://`.

    `timeout` (seconds) bounds one request to a server, retries included.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class GcsSettings:
    """Google Cloud Storage: `gs://bucket/prefix`, and a service account's key as JSON.

    `service_account` is the file of such a key. Without either the machine's own account is used
    (GOOGLE_APPLICATION_CREDENTIALS, or the metadata server).
    """

    url: str
    service_account: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    endpoint: str = ""
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if sum(map(bool, (self.service_account, self.key, self.token))) > 1:
            raise CatcherError(
                "it has several credentials", "keep one of service_account, key, token"
            )


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Azure Blob Storage: `az://container/prefix` of a storage account.

    By the account's `key`, a `sas` token or a service principal (`client_id`, `client_secret`,
    `tenant`). Without any the machine's managed identity is used.
    """

    url: str
    account: str
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    tenant: str = ""
    endpoint: str = ""
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if sum(map(bool, (self.key, self.sas, self.client_secret))) > 1:
            raise CatcherError("it has several credentials", "keep one of key, sas, client_secret")
        if bool(self.client_secret) != bool(self.client_id and self.tenant):
            raise CatcherError(
                "a service principal is client_id, client_secret and tenant", "give all three"
            )


AnyObjectSettings = ObjectSettings | GcsSettings | AzureSettings
