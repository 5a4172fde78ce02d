"""A rule is compiled: every expression in its scope, all problems in one pass."""

from __future__ import annotations

from dataclasses import replace

from catcher.model.problem import Place, Problem
from catcher.model.rule import Expr, Rule, Step, Trigger
from catcher.model.time import Span
from catcher.watching.blueprint import (
    TIMED,
    Blueprint,
    Branch,
    LevelPlan,
    Levels,
    StepPlan,
    fires,
    leaves,
)
from catcher.watching.compiling import Plan
from catcher.watching.conditions import Condition
from catcher.watching.errors import ExpressionError
from catcher.watching.expressions import Scope, is_name, parse
from catcher.watching.frames import Eval
from catcher.watching.reading import ReadPlan
from catcher.watching.tree import Node, constant


class Drafting:
    """Compiles the expressions of one rule, each in its scope, and notes what is wrong."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.blueprint = Blueprint(rule)
        self._names: dict[str, Node] = {}
        self._reads = frozenset(rule.reads)

    def draft(self) -> Blueprint:
        """The whole blueprint."""
        self._constants()
        self._draft_reads()
        self._draft_lets()
        for index, trigger in enumerate(leaves(self.rule.trigger)):
            self.blueprint.branches.append(self._branch(index, trigger))
        self._draft_levels()
        self._check_inputs()
        return self.blueprint

    # -- names ------------------------------------------------------------------------------

    def problem(self, place: Place, message: str, hint: str = "") -> None:
        """Notes what is wrong."""
        self.blueprint.problems.append(Problem(place, message, hint, rule=self.rule.id))

    def _constants(self) -> None:
        for name, value in self.rule.constants.items():
            usable = isinstance(value, bool | int | float | str) or (
                isinstance(value, list | tuple)
                and all(isinstance(one, bool | int | float | str) for one in value)
            )
            if is_name(name) and usable:
                fixed = tuple(value) if isinstance(value, list) else value
                self._names[name] = constant(fixed)

    def _draft_reads(self) -> None:
        for name, read in self.rule.reads.items():
            self._check_name("read", name, self.rule.place)
            plan = Plan(root=name)
            scope = Scope(names=self._names, windows=False, what="the `where` of a read")
            where = self._condition(Plan(), read.where, scope)
            passes = where.truth if where else None
            self.blueprint.reads[name] = ReadPlan(name, read, passes, plan)
            self._note(f"read {name} {read.topic} {read.max_age}", where.node if where else None)

    def _draft_lets(self) -> None:
        waiting = dict(self.rule.let)
        for name, expr in self.rule.let.items():
            self._check_name("let", name, expr.place)
        while waiting:
            name = next(iter(waiting))
            self._draft_let(name, waiting, ())

    def _draft_let(self, name: str, waiting: dict[str, Expr], above: tuple[str, ...]) -> None:
        expr = waiting.pop(name)
        for other in _words(expr.text):
            if other in (*above, name):
                circle = " -> ".join((*above, name, other))
                self.problem(expr.place, f"`let` goes in a circle: {circle}", "break the circle")
                return
            if other in waiting:
                self._draft_let(other, waiting, (*above, name))
        node = self._parse(expr, Scope(self._reads, dict(self._names), what="`let`"))
        if node is not None:
            self._names[name] = self.blueprint.lets[name] = node

    def _check_name(self, what: str, name: str, place: Place) -> None:
        taken = "`with`" if name in self.rule.constants else ""
        if what == "let" and name in self.rule.reads:
            taken = "`reads`"
        if taken:
            self.problem(place, f"the name {name} of `{what}` is also in {taken}", "rename one")
        if not is_name(name) or name in ("true", "false"):
            self.problem(place, f"{name!r} cannot be a name in an expression", "use letters and _")

    # -- expressions ------------------------------------------------------------------------

    def _parse(self, expr: Expr | None, scope: Scope, reads: bool = True) -> Node | None:
        if expr is None:
            return None
        try:
            node = parse(expr.text, scope)
            self._check_roots(node, scope, reads)
        except ExpressionError as error:
            self.problem(_shifted(expr.place, error.offset), error.message, error.hint)
            return None
        return node

    def _check_roots(self, node: Node, scope: Scope, reads: bool) -> None:
        foreign = sorted(node.roots - {""})
        if foreign and not reads:
            raise ExpressionError(
                f"{scope.what} sees the event alone, not the read {foreign[0]}",
                "move the condition to `when` or to a level",
                node.at,
            )
        if "" in node.roots and not scope.event:
            raise ExpressionError(
                "this names fields of an event, but there is none here",
                "name another topic's event under `reads`",
                node.at,
            )

    def _condition(self, plan: Plan, expr: Expr | None, scope: Scope, reads: bool = True) -> (
        Condition | None
    ):  # fmt: skip
        node = self._parse(expr, scope, reads)
        if node is None or expr is None:
            return None
        try:
            return Condition(plan, node)
        except ExpressionError as error:
            self.problem(_shifted(expr.place, error.offset), error.message, error.hint)
            return None

    def _value(self, plan: Plan, expr: Expr | None, scope: Scope, reads: bool) -> Eval | None:
        condition = self._condition(plan, expr, scope, reads)
        self._note(f"{scope.what} ", condition.node if condition else None)
        return None if condition is None else plan.compile(condition.node)

    def _note(self, what: str, *nodes: Node | None) -> None:
        self.blueprint.texts.append(what + " ".join(node.text if node else "-" for node in nodes))

    # -- parts of the rule ------------------------------------------------------------------

    def _plan(self) -> Plan:
        return Plan("", {name: read.plan for name, read in self.blueprint.reads.items()})

    def _scope(self, what: str, event: bool = True, windows: bool = True) -> Scope:
        return Scope(self._reads, self._names, windows, event, what)

    def _branch(self, index: int, trigger: Trigger) -> Branch:
        event = trigger.kind not in TIMED
        branch = Branch(index, trigger, self._plan())
        alone = self._scope("`where`", True, False)
        branch.where = self._condition(branch.plan, trigger.where, alone, False)
        by = self._scope("`by`", True, False)
        branch.by = self._value(branch.plan, trigger.by, by, False)
        branch.by_node = self._parse(trigger.by, by, False) if branch.by else None
        once = self._scope("`once_per`", event, False)
        branch.once = self._value(branch.plan, trigger.once_per, once, True)
        branch.when = self._condition(branch.plan, trigger.when, self._scope("`when`", event))
        branch.clear = self._condition(branch.plan, trigger.clear, self._scope("`clear`", event))
        branch.steps = tuple(self._step(branch.plan, step) for step in trigger.steps)
        if fires(self.rule, trigger):
            branch.lets = self._lets(branch.plan, event)
        self._note(
            f"branch {_plain(trigger)} {[step.topic for step in trigger.steps]}",
            *(one.node if one else None for one in (branch.where, branch.when, branch.clear)),
            *(step.where.node if step.where else None for step in branch.steps),
        )
        return branch

    def _lets(self, plan: Plan, event: bool) -> dict[str, Eval]:
        """The `let` names as closures of a plan, as far as they make sense there."""
        found = {}
        for name, node in self.blueprint.lets.items():
            if event or "" not in node.roots:
                try:
                    found[name] = plan.compile(node)
                except ExpressionError:
                    continue  # a part of a larger expression, such as a list or a whole event
        return found

    def _step(self, plan: Plan, step: Step) -> StepPlan:
        scope = self._scope("the `where` of a step", True, False)
        return StepPlan(step.topic, self._condition(plan, step.where, scope, False))

    def _draft_levels(self) -> None:
        alert, rule = self.rule.alert, self.rule
        if alert is None:
            return
        kinds = {branch.trigger.kind for branch in self.blueprint.branches}
        fed_by = "results" if rule.job is not None else "stream"
        plan, event = self._plan(), not (rule.job is None and kinds <= TIMED)
        levels = []
        for severity in sorted(alert.levels, reverse=True):
            spec = alert.levels[severity]
            what = f"the level {severity.name.lower()}"
            scope = self._scope(what, event)
            when = self._condition(plan, spec.when, scope)
            clear = self._condition(plan, spec.clear, scope)
            levels.append(LevelPlan(severity, spec, when, clear))
            self._note(
                f"level {severity} {spec.hold} {spec.clear_hold}",
                when.node if when else None,
                clear.node if clear else None,
            )
        per = self._value(plan, alert.per, self._scope("`per`", event, False), True)
        self.blueprint.texts.append(f"{alert.expires} {alert.lasts} {alert.failed}")
        self.blueprint.levels = Levels(
            fed_by, plan, alert, tuple(levels), per, self._lets(plan, event)
        )

    def _check_inputs(self) -> None:
        if self.rule.job is None:
            return
        for name, one in self.rule.job.inputs.items():
            scope = Scope(names={}, windows=False, what=f"the input {name}")
            for expr in (one.where, one.start, one.end):
                self._condition(Plan(), expr, scope)


def draft(rule: Rule) -> Blueprint:
    """The blueprint of a rule, with the problems of its expressions."""
    return Drafting(rule).draft()


def _shifted(place: Place, offset: int) -> Place:
    return replace(place, column=place.column + offset) if place.line else place


def _words(text: str) -> list[str]:
    cleaned = "".join(one if one.isalnum() or one == "_" else " " for one in text)
    return cleaned.split()


def _plain(trigger: Trigger) -> str:
    spans: dict[str, Span | None] = {
        "hold": trigger.hold, "clear_hold": trigger.clear_hold, "every": trigger.every,
        "stale": trigger.stale_after, "forget": trigger.forget_after, "within": trigger.within,
    }  # fmt: skip
    names = (trigger.kind, trigger.topic, trigger.schedule, trigger.zone, trigger.on_recovery)
    return f"{names} {sorted(spans.items(), key=str)}"
