"""A site's folder becomes rules, routes and settings, or problems with their places."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from catcher.alerting.routing import RouteTree
from catcher.alerting.sun import Ground
from catcher.model.portion import Portion
from catcher.model.problem import Place, Problem
from catcher.model.rule import Rule
from catcher.model.text import plain
from catcher.site import routes, settings
from catcher.site.across import Claim, Known, check_across, check_sources_of_results, references
from catcher.site.adapters import Adapters
from catcher.site.binding import Section
from catcher.site.drafts import BrokenRule, Draft, check_draft, check_text, read_draft, sort_out
from catcher.site.folder import digest, listed, name_of
from catcher.site.heartbeat import check_sink
from catcher.site.nodes import Branch, Node, Report, quoted
from catcher.site.portions import check_portion
from catcher.site.routes import Routes, check_rules_named, read_routes
from catcher.site.secrets import Redactor, Secrets, redactor
from catcher.site.settings import Location, Settings, read_settings
from catcher.site.sinks import check_code, check_templates
from catcher.site.strict import Document, documents, read_file
from catcher.site.syntax import Source
from catcher.working.registry import Registry

MOST_SHOWN = 200
LONGEST_LINE = 400
_SINK = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Site:
    """An observatory's own content, as it was loaded. `problems` are sorted by place.

    `rules` are the good ones by id; `routes` leaves out broken sinks, whose names stay known.
    `redact` takes every secret out of a text. `digest` changes when a file does.
    """

    root: Path
    settings: Settings
    rules: Mapping[str, Rule]
    broken: tuple[BrokenRule, ...]
    routes: RouteTree
    sinks: Mapping[str, Section]
    custom_sinks: Mapping[str, Path]
    templates: Mapping[str, Path]
    registry: Registry
    problems: tuple[Problem, ...]
    digest: str
    redact: Redactor = field(default_factory=Redactor)

    @property
    def active(self) -> list[Rule]:
        """The rules to run: good, this engine's, and not switched off with `enabled: false`."""
        carries = self.settings.engine.carries
        return [one for one in self.rules.values() if one.enabled and carries(one.tags)]

    @property
    def elsewhere(self) -> frozenset[str]:
        """The rules that other engines carry."""
        carries = self.settings.engine.carries
        return frozenset(one.id for one in self.rules.values() if not carries(one.tags))

    @property
    def errors(self) -> list[Problem]:
        """The problems that are no mere warnings."""
        return [one for one in self.problems if one.severity == "error"]

    @property
    def misconfigured(self) -> list[Problem]:
        """Errors in `catcher.yaml` and the routes, for which some default stands in."""
        return [one for one in self.errors if one.place.file in (settings.FILE, routes.FILE)]


def load(
    root: str | Path, environ: Mapping[str, str] | None = None, adapters: Adapters | None = None,
    portion: Portion | None = None,
) -> Site:  # fmt: skip
    """Everything in a site's folder. Never raises for what the files hold.

    `environ` is where `${NAME}` is looked up; with `adapters` each adapter's settings are also
    checked against its class, and what does not fit is left out. `portion` is what the engine
    carries, whatever `engine:` says.
    """
    known = os.environ if environ is None else environ
    return _Loading(Path(root).resolve(), known, adapters or {}, portion).load()


def load_settings(root: str | Path, environ: Mapping[str, str] | None = None) -> Site:
    """Of a site only what `catcher.yaml` says, and no adapter is asked.

    For those who look things up: what a client library of some sink takes to import, they would
    wait for.
    """
    known = os.environ if environ is None else environ
    return _Loading(Path(root).resolve(), known, {}, None).load_settings()


class _Loading:
    """One pass over a site's files."""

    def __init__(
        self, root: Path, environ: Mapping[str, str], adapters: Adapters, portion: Portion | None
    ) -> None:
        self._root, self._adapters, self._portion = root, adapters, portion
        self._secrets = Secrets(environ, root)
        self._report = Report()
        self._sources: dict[str, Source] = {}
        self._unreadable = False

    def load(self) -> Site:
        content = digest(self._root)
        configured = self._settings()
        used = configured or Settings(site=self._root.name)
        if self._portion is not None:
            used = replace(used, engine=self._portion)
        custom, templates = self._custom_sinks(), self._templates()
        routed = self._routes(custom, used.location)
        self._report.problems += check_templates(routed.sinks)
        registry, problems = Registry.load(self._root / "jobs")
        self._report.problems += problems
        drafts = list(self._drafts())
        for draft in drafts:
            self._report.problems += check_draft(draft, registry)
        whole = [one.rule for one in drafts if one.rule is not None and one.whole]
        embedded = used.stores.history.kind == "embedded"
        self._report.problems += check_portion(whole, used.engine, embedded)
        observations = configured.observations if configured else None
        self._across(drafts, Known(observations, routed.declared, self._unreadable))
        loves = [name for name, sink in routed.sinks.items() if sink.kind == "love"]
        check_sink(used.heartbeat, None if routed.declared is None else loves, self._report)
        check_rules_named(routed.tree, [draft.id for draft in drafts], self._report)
        problems = self._settled()
        good, broken = sort_out(drafts, problems)
        return Site(
            root=self._root,
            settings=used,
            rules=good,
            broken=tuple(broken),
            routes=routed.tree,
            sinks=routed.sinks,
            custom_sinks=custom,
            templates=templates,
            registry=registry,
            problems=tuple(_bounded(problems)),
            digest=content,
            redact=redactor(self._secrets.values),
        )

    def load_settings(self) -> Site:
        said = self._settings() or Settings(site=self._root.name)
        return Site(
            root=self._root, settings=said, rules={}, broken=(), routes=RouteTree(), sinks={},
            custom_sinks={}, templates={}, registry=Registry({}, {}),
            problems=tuple(_bounded(self._settled())), digest="",
            redact=redactor(self._secrets.values),
        )  # fmt: skip

    def _documents(self, name: str) -> list[Document]:
        text = read_file(self._root / name, name, self._report)
        if text is None:
            self._unreadable = True
            return []
        self._sources[name] = Source(name, text)
        return documents(text, name)

    def _single(self, name: str) -> Node | None:
        """The one document of a file, with secrets in place; None where it cannot be read."""
        if not os.path.lexists(self._root / name):
            return Branch({}, Place(name, 1, 1))
        report, found = self._report, self._documents(name)
        for document in found:
            report.problems += document.problems
        if len(found) > 1:
            message = f"{name} holds one document, and a second one starts here"
            report.error(found[1].place, message, "delete the --- between the two")
        if not found:
            return None if name not in self._sources else Branch({}, Place(name, 1, 1))
        node = found[0].node
        return None if node is None else self._secrets.resolve(node, report)

    def _settings(self) -> Settings | None:
        node = self._single(settings.FILE)
        return (
            None if node is None else read_settings(node, self._report, self._root, self._adapters)
        )

    def _routes(self, custom: Mapping[str, Path], location: Location | None) -> Routes:
        node = self._single(routes.FILE)
        if node is None:
            return Routes(declared=None)
        if isinstance(node, Branch) and not node.entries:
            return Routes()
        ground = Ground(location.latitude, location.longitude) if location else None
        return read_routes(node, self._report, custom, self._adapters, ground)

    def _custom_sinks(self) -> dict[str, Path]:
        found = {}
        for path in listed(self._root, "alerts/sinks", ".py"):
            if _SINK.fullmatch(path.stem):
                found[path.stem] = path
                self._report.problems += self._check_code(path)
            elif not path.stem.startswith("_"):
                message = f"{quoted(path.stem)} cannot be the name of a sink"
                place = Place(name_of(path, self._root), 1, 1)
                self._report.error(place, message, "use small letters, digits, - and _")
        return found

    def _check_code(self, path: Path) -> list[Problem]:
        name = name_of(path, self._root)
        text = read_file(path, name, self._report)
        return [] if text is None else check_code(text, name)

    def _templates(self) -> dict[str, Path]:
        found = {}
        for path in listed(self._root, "alerts/templates", ".j2"):
            name = name_of(path, self._root)
            text = read_file(path, name, self._report)
            if text is not None:
                found[path.stem] = path
                self._sources[name] = Source(name, text)
                self._report.problems += check_text(text, Place(name, 1, 1))
        return found

    def _drafts(self) -> Iterator[Draft]:
        for path in listed(self._root, "rules", ".yaml", ".yml"):
            for document in self._documents(name_of(path, self._root)):
                yield read_draft(document, self._report)

    def _across(self, drafts: list[Draft], known: Known) -> None:
        claims = [
            Claim(draft.id, draft.place, tuple(references(draft.document.node)))
            for draft in drafts
            if draft.id
        ]
        check_across(claims, known, self._report)
        broken = {one.rule for one in self._report.problems if one.severity == "error"}
        check_sources_of_results(claims, broken, self._report)

    def _settled(self) -> list[Problem]:
        """All problems at real places, each once, in the order of their places, no secret told."""
        unique: dict[tuple[Place, str], Problem] = {}
        redact = redactor(self._secrets.values)
        for one in self._report.problems:
            source = self._sources.get(one.place.file)
            place = source.settle(one.place) if source else one.place
            told = replace(
                one, place=place, message=_line(redact(one.message)), hint=_line(redact(one.hint))
            )
            unique.setdefault((place, told.message), told)
        return sorted(unique.values(), key=lambda one: (one.place, one.message))


def _line(text: str) -> str:
    """What is told of a file in one line: it may quote the file."""
    short = len(text) <= LONGEST_LINE and text.isprintable()
    return text if short else plain(text, LONGEST_LINE)


def _bounded(problems: Iterable[Problem]) -> Iterator[Problem]:
    """At most `MOST_SHOWN` problems of each file, and a last one that counts the others."""
    for _, group in groupby(problems, key=lambda one: one.place.file):
        found = list(group)
        yield from found[:MOST_SHOWN]
        for last in found[MOST_SHOWN : MOST_SHOWN + 1]:
            message = f"there are {len(found) - MOST_SHOWN} more problems in this file"
            yield replace(last, message=message, hint="mend these first", severity="error")
