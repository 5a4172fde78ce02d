"""Reads a site's folder into rules, routes and settings, or problems with their locations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from catcher.alerting.route_tree import RouteTree
from catcher.alerting.solar import GeoLocation
from catcher.jobs.registry import Registry
from catcher.model.errors import Problem, SourceLocation
from catcher.model.rule import Rule
from catcher.model.rule_subset import RuleSubset
from catcher.model.text import sanitize_single_line
from catcher.site import routes, settings
from catcher.site.adapters import Adapters
from catcher.site.cross_checks import (
    KnownNames,
    RuleReferences,
    check_broken_dependencies,
    check_ids_and_references,
    iter_references,
)
from catcher.site.files import compute_site_digest, format_site_path, list_files
from catcher.site.heartbeat import check_heartbeat_sinks
from catcher.site.routes import Routes, check_routed_rule_names, parse_routes
from catcher.site.rule_loading import (
    BrokenRule,
    LoadedDocument,
    check_rule_document,
    check_template_text,
    load_rule_document,
    partition_rules,
)
from catcher.site.rule_subsets import check_rule_subset
from catcher.site.secrets import Redactor, Secrets, create_redactor
from catcher.site.settings import SiteLocation, SiteSettings, parse_settings
from catcher.site.settings_binding import AdapterSection
from catcher.site.sinks import check_http_sink_templates, check_sink_code
from catcher.site.yaml_errors import SourceText
from catcher.site.yaml_loader import YamlDocument, parse_documents, read_text_file
from catcher.site.yaml_tree import ProblemCollector, YamlMapping, YamlNode, quote_text

MAX_PROBLEMS_PER_FILE = 200
MAX_MESSAGE_LENGTH = 400
_SINK_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Site:
    """An observatory's own content, as it was loaded. `problems` are sorted by location.
    `rules` are the valid ones by id; `routes` leaves out broken sinks, whose names stay known.
    `redact` takes every secret out of a text. `digest` changes when a file does.
    """

    root: Path
    settings: SiteSettings
    rules: Mapping[str, Rule]
    broken_rules: tuple[BrokenRule, ...]
    routes: RouteTree
    sinks: Mapping[str, AdapterSection]
    custom_sinks: Mapping[str, Path]
    templates: Mapping[str, Path]
    registry: Registry
    problems: tuple[Problem, ...]
    digest: str
    redact: Redactor = field(default_factory=Redactor)

    @property
    def active_rules(self) -> list[Rule]:
        """The rules to run: valid, assigned to this engine, not disabled with `enabled: false`."""
        includes_tags = self.settings.engine.includes_rule_with_tags
        return [rule for rule in self.rules.values() if rule.enabled and includes_tags(rule.tags)]

    @property
    def excluded_rule_ids(self) -> frozenset[str]:
        """Ids of the rules that other engines run."""
        includes_tags = self.settings.engine.includes_rule_with_tags
        return frozenset(rule.id for rule in self.rules.values() if not includes_tags(rule.tags))

    @property
    def errors(self) -> list[Problem]:
        """The problems that are not just warnings."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def config_errors(self) -> list[Problem]:
        """Errors in `catcher.yaml` and the routes, for which a default is used."""
        return [
            problem
            for problem in self.errors
            if problem.location.file in (settings.SETTINGS_FILE, routes.ROUTES_FILE)
        ]


def load_site_folder(
    root: str | Path, environ: Mapping[str, str] | None = None, adapters: Adapters | None = None,
    rule_subset: RuleSubset | None = None,
) -> Site:  # fmt: skip
    """Loads everything in a site's folder. Never raises for the contents of the files.
    `environ` is where `${NAME}` is looked up; with `adapters` each adapter's settings are also
    checked against its class, and what does not fit is left out. `rule_subset` overrides what
    `engine:` says.
    """
    environment = os.environ if environ is None else environ
    return _SiteLoader(Path(root).resolve(), environment, adapters or {}, rule_subset).load()


def load_settings_only(root: str | Path, environ: Mapping[str, str] | None = None) -> Site:
    """Loads only the `catcher.yaml` of a site, without its adapters' settings classes.
    For commands that only query: they need not wait for the import of some sink's client library.
    """
    environment = os.environ if environ is None else environ
    return _SiteLoader(Path(root).resolve(), environment, {}, None).load_settings_only()


class _SiteLoader:
    """One pass over a site's files."""

    def __init__(
        self,
        root: Path,
        environ: Mapping[str, str],
        adapters: Adapters,
        rule_subset: RuleSubset | None,
    ) -> None:
        self._root, self._adapters, self._rule_subset = root, adapters, rule_subset
        self._secrets = Secrets(environ, root)
        self._collector = ProblemCollector()
        self._source_texts: dict[str, SourceText] = {}
        self._has_unreadable_file = False

    def load(self) -> Site:
        content_digest = compute_site_digest(self._root)
        file_settings = self._read_settings()
        site_settings = file_settings or SiteSettings(site=self._root.name)
        if self._rule_subset is not None:
            site_settings = replace(site_settings, engine=self._rule_subset)
        custom_sinks, templates = self._list_custom_sinks(), self._list_templates()
        routing = self._read_routes(custom_sinks, site_settings.location)
        self._collector.problems += check_http_sink_templates(routing.sinks)
        registry, problems = Registry.load(self._root / "jobs")
        self._collector.problems += problems
        loaded_documents = list(self._load_documents())
        for loaded_document in loaded_documents:
            self._collector.problems += check_rule_document(loaded_document, registry)
        complete_rules = [
            document.rule
            for document in loaded_documents
            if document.rule is not None and document.is_complete
        ]
        has_embedded_history = site_settings.stores.history.kind == "embedded"
        self._collector.problems += check_rule_subset(
            complete_rules, site_settings.engine, has_embedded_history
        )
        observations = file_settings.observations if file_settings else None
        self._cross_check_rules(
            loaded_documents,
            KnownNames(observations, routing.declared_sinks, self._has_unreadable_file),
        )
        love_sinks = [name for name, sink in routing.sinks.items() if sink.kind == "love"]
        check_heartbeat_sinks(
            site_settings.heartbeat,
            None if routing.declared_sinks is None else love_sinks,
            self._collector,
        )
        check_routed_rule_names(
            routing.tree,
            [loaded_document.id for loaded_document in loaded_documents],
            self._collector,
        )
        problems = self._finalize_problems()
        good_rules, broken_rules = partition_rules(loaded_documents, problems)
        return Site(
            root=self._root,
            settings=site_settings,
            rules=good_rules,
            broken_rules=tuple(broken_rules),
            routes=routing.tree,
            sinks=routing.sinks,
            custom_sinks=custom_sinks,
            templates=templates,
            registry=registry,
            problems=tuple(_limit_problems(problems)),
            digest=content_digest,
            redact=create_redactor(self._secrets.values),
        )

    def load_settings_only(self) -> Site:
        site_settings = self._read_settings() or SiteSettings(site=self._root.name)
        return Site(
            root=self._root,
            settings=site_settings,
            rules={},
            broken_rules=(),
            routes=RouteTree(),
            sinks={},
            custom_sinks={},
            templates={},
            registry=Registry({}, {}),
            problems=tuple(_limit_problems(self._finalize_problems())),
            digest="",
            redact=create_redactor(self._secrets.values),
        )

    def _read_documents(self, name: str) -> list[YamlDocument]:
        text = read_text_file(self._root / name, name, self._collector)
        if text is None:
            self._has_unreadable_file = True
            return []
        self._source_texts[name] = SourceText(name, text)
        return parse_documents(text, name)

    def _read_single_document(self, name: str) -> YamlNode | None:
        """Reads the one document of a file, with secrets resolved; None if it cannot be read."""
        if not os.path.lexists(self._root / name):
            return YamlMapping({}, SourceLocation(name, 1, 1))
        collector, parsed = self._collector, self._read_documents(name)
        for document in parsed:
            collector.problems += document.problems
        if len(parsed) > 1:
            message = f"{name} holds one document, and a second one starts here"
            collector.add_error(parsed[1].location, message, "delete the --- between the two")
        if not parsed:
            return (
                None
                if name not in self._source_texts
                else YamlMapping({}, SourceLocation(name, 1, 1))
            )
        node = parsed[0].node
        return None if node is None else self._secrets.resolve_references(node, collector)

    def _read_settings(self) -> SiteSettings | None:
        node = self._read_single_document(settings.SETTINGS_FILE)
        return (
            None
            if node is None
            else parse_settings(node, self._collector, self._root, self._adapters)
        )

    def _read_routes(
        self, custom_sinks: Mapping[str, Path], site_location: SiteLocation | None
    ) -> Routes:
        node = self._read_single_document(routes.ROUTES_FILE)
        if node is None:
            return Routes(declared_sinks=None)
        if isinstance(node, YamlMapping) and not node.entries:
            return Routes()
        geo_location = (
            GeoLocation(site_location.latitude, site_location.longitude) if site_location else None
        )
        return parse_routes(node, self._collector, custom_sinks, self._adapters, geo_location)

    def _list_custom_sinks(self) -> dict[str, Path]:
        sinks = {}
        for path in list_files(self._root, "alerts/sinks", ".py"):
            if _SINK_NAME.fullmatch(path.stem):
                sinks[path.stem] = path
                self._collector.problems += self._check_sink_file(path)
            elif not path.stem.startswith("_"):
                message = f"{quote_text(path.stem)} cannot be the name of a sink"
                location = SourceLocation(format_site_path(path, self._root), 1, 1)
                self._collector.add_error(location, message, "use small letters, digits, - and _")
        return sinks

    def _check_sink_file(self, path: Path) -> list[Problem]:
        name = format_site_path(path, self._root)
        text = read_text_file(path, name, self._collector)
        return [] if text is None else check_sink_code(text, name)

    def _list_templates(self) -> dict[str, Path]:
        templates = {}
        for path in list_files(self._root, "alerts/templates", ".j2"):
            name = format_site_path(path, self._root)
            text = read_text_file(path, name, self._collector)
            if text is not None:
                templates[path.stem] = path
                self._source_texts[name] = SourceText(name, text)
                self._collector.problems += check_template_text(text, SourceLocation(name, 1, 1))
        return templates

    def _load_documents(self) -> Iterator[LoadedDocument]:
        for path in list_files(self._root, "rules", ".yaml", ".yml"):
            for document in self._read_documents(format_site_path(path, self._root)):
                yield load_rule_document(document, self._collector)

    def _cross_check_rules(
        self, loaded_documents: list[LoadedDocument], known_names: KnownNames
    ) -> None:
        rules = [
            RuleReferences(
                loaded_document.id,
                loaded_document.location,
                tuple(iter_references(loaded_document.document.node)),
            )
            for loaded_document in loaded_documents
            if loaded_document.id
        ]
        check_ids_and_references(rules, known_names, self._collector)
        broken_ids = {
            problem.rule for problem in self._collector.problems if problem.severity == "error"
        }
        check_broken_dependencies(rules, broken_ids, self._collector)

    def _finalize_problems(self) -> list[Problem]:
        """Returns all problems at valid locations, each once, sorted, with secrets redacted."""
        unique: dict[tuple[SourceLocation, str], Problem] = {}
        redact = create_redactor(self._secrets.values)
        for problem in self._collector.problems:
            source_text = self._source_texts.get(problem.location.file)
            location = (
                source_text.normalize_location(problem.location)
                if source_text
                else problem.location
            )
            redacted = replace(
                problem,
                location=location,
                message=_shorten_to_line(redact(problem.message)),
                hint=_shorten_to_line(redact(problem.hint)),
            )
            unique.setdefault((location, redacted.message), redacted)
        return sorted(unique.values(), key=lambda problem: (problem.location, problem.message))


def _shorten_to_line(text: str) -> str:
    """Puts a message on one line: it may quote the file."""
    is_short = len(text) <= MAX_MESSAGE_LENGTH and text.isprintable()
    return text if is_short else sanitize_single_line(text, MAX_MESSAGE_LENGTH)


def _limit_problems(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yields at most `MAX_PROBLEMS_PER_FILE` problems of each file, and a count of the others."""
    for _, group in groupby(problems, key=lambda problem: problem.location.file):
        file_problems = list(group)
        yield from file_problems[:MAX_PROBLEMS_PER_FILE]
        for last in file_problems[MAX_PROBLEMS_PER_FILE : MAX_PROBLEMS_PER_FILE + 1]:
            message = (
                f"there are {len(file_problems) - MAX_PROBLEMS_PER_FILE} more problems in this file"
            )
            yield replace(last, message=message, hint="mend these first", severity="error")
