"""Compiles a rule: every expression in its scope, all problems in one pass."""

from __future__ import annotations

from dataclasses import replace

from catcher.evaluation.compiled_rule import (
    TIMED_KINDS,
    CompiledLevel,
    CompiledLevels,
    CompiledRule,
    CompiledStep,
    CompiledTrigger,
    can_fire,
    flatten_any_triggers,
)
from catcher.expressions.ast import Node, build_constant
from catcher.expressions.compiler import StatePlan
from catcher.expressions.conditions import Condition
from catcher.expressions.context import CompiledExpression
from catcher.expressions.errors import ExpressionError
from catcher.expressions.lookup_join import CompiledLookup
from catcher.expressions.parser import Scope, is_valid_name, parse_expression
from catcher.model.errors import Problem, SourceLocation
from catcher.model.rule import Expression, Rule, SequenceStep, TriggerSpec
from catcher.model.time import Span


class RuleCompiler:
    """Compiles the expressions of one rule, each in its scope, and collects the problems."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.compiled_rule = CompiledRule(rule)
        self._names: dict[str, Node] = {}
        self._read_names = frozenset(rule.reads)

    def compile(self) -> CompiledRule:
        """Returns the complete compiled rule."""
        self._add_constants()
        self._compile_reads()
        self._compile_lets()
        for index, spec in enumerate(flatten_any_triggers(self.rule.trigger)):
            self.compiled_rule.triggers.append(self._compile_trigger(index, spec))
        self._compile_levels()
        self._check_job_inputs()
        return self.compiled_rule

    # -- names ------------------------------------------------------------------------------

    def add_problem(self, location: SourceLocation, message: str, hint: str = "") -> None:
        """Adds a problem."""
        self.compiled_rule.problems.append(Problem(location, message, hint, rule=self.rule.id))

    def _add_constants(self) -> None:
        for name, value in self.rule.constants.items():
            is_usable = isinstance(value, bool | int | float | str) or (
                isinstance(value, list | tuple)
                and all(isinstance(element, bool | int | float | str) for element in value)
            )
            if is_valid_name(name) and is_usable:
                constant_value = tuple(value) if isinstance(value, list) else value
                self._names[name] = build_constant(constant_value)

    def _compile_reads(self) -> None:
        for name, read in self.rule.reads.items():
            self._check_name("read", name, self.rule.location)
            plan = StatePlan(lookup=name)
            scope = Scope(
                names=self._names, allows_windows=False, description="the `where` of a read"
            )
            where = self._compile_condition(StatePlan(), read.where, scope)
            predicate = where.evaluate if where else None
            self.compiled_rule.reads[name] = CompiledLookup(name, read, predicate, plan)
            self._add_fingerprint_part(
                f"read {name} {read.topic} {read.max_age}", where.node if where else None
            )

    def _compile_lets(self) -> None:
        pending = dict(self.rule.let)
        for name, expr in self.rule.let.items():
            self._check_name("let", name, expr.location)
        while pending:
            name = next(iter(pending))
            self._compile_let(name, pending, ())

    def _compile_let(
        self, name: str, pending: dict[str, Expression], ancestors: tuple[str, ...]
    ) -> None:
        expr = pending.pop(name)
        for dependency in _split_identifiers(expr.text):
            if dependency in (*ancestors, name):
                cycle = " -> ".join((*ancestors, name, dependency))
                self.add_problem(
                    expr.location, f"`let` goes in a circle: {cycle}", "break the circle"
                )
                return
            if dependency in pending:
                self._compile_let(dependency, pending, (*ancestors, name))
        node = self._parse_expression(
            expr, Scope(self._read_names, dict(self._names), description="`let`")
        )
        if node is not None:
            self._names[name] = self.compiled_rule.lets[name] = node

    def _check_name(self, kind: str, name: str, location: SourceLocation) -> None:
        other_section = "`with`" if name in self.rule.constants else ""
        if kind == "let" and name in self.rule.reads:
            other_section = "`reads`"
        if other_section:
            self.add_problem(
                location, f"the name {name} of `{kind}` is also in {other_section}", "rename one"
            )
        if not is_valid_name(name) or name in ("true", "false"):
            self.add_problem(
                location, f"{name!r} cannot be a name in an expression", "use letters and _"
            )

    # -- expressions ------------------------------------------------------------------------

    def _parse_expression(
        self, expr: Expression | None, scope: Scope, reads: bool = True
    ) -> Node | None:
        if expr is None:
            return None
        try:
            node = parse_expression(expr.text, scope)
            self._check_referenced_lookups(node, scope, reads)
        except ExpressionError as error:
            self.add_problem(
                _shift_location(expr.location, error.offset), error.message, error.hint
            )
            return None
        return node

    def _check_referenced_lookups(self, node: Node, scope: Scope, reads: bool) -> None:
        read_roots = sorted(node.lookups - {""})
        if read_roots and not reads:
            raise ExpressionError(
                f"{scope.description} sees the event alone, not the read {read_roots[0]}",
                "move the condition to `when` or to a level",
                node.offset,
            )
        if "" in node.lookups and not scope.has_event:
            raise ExpressionError(
                "this names fields of an event, but there is none here",
                "name another topic's event under `reads`",
                node.offset,
            )

    def _compile_condition(
        self, plan: StatePlan, expr: Expression | None, scope: Scope, reads: bool = True
    ) -> Condition | None:
        node = self._parse_expression(expr, scope, reads)
        if node is None or expr is None:
            return None
        try:
            return Condition(plan, node)
        except ExpressionError as error:
            self.add_problem(
                _shift_location(expr.location, error.offset), error.message, error.hint
            )
            return None

    def _compile_value(
        self, plan: StatePlan, expr: Expression | None, scope: Scope, reads: bool
    ) -> CompiledExpression | None:
        condition = self._compile_condition(plan, expr, scope, reads)
        self._add_fingerprint_part(f"{scope.description} ", condition.node if condition else None)
        return None if condition is None else plan.compile_node(condition.node)

    def _add_fingerprint_part(self, prefix: str, *nodes: Node | None) -> None:
        self.compiled_rule.fingerprint_parts.append(
            prefix + " ".join(node.text if node else "-" for node in nodes)
        )

    # -- parts of the rule ------------------------------------------------------------------

    def _create_plan(self) -> StatePlan:
        return StatePlan(
            "", {name: read.state_plan for name, read in self.compiled_rule.reads.items()}
        )

    def _create_scope(self, description: str, event: bool = True, windows: bool = True) -> Scope:
        return Scope(self._read_names, self._names, windows, event, description)

    def _compile_trigger(self, index: int, spec: TriggerSpec) -> CompiledTrigger:
        has_event = spec.kind not in TIMED_KINDS
        compiled = CompiledTrigger(index, spec, self._create_plan())
        where_scope = self._create_scope("`where`", True, False)
        compiled.where = self._compile_condition(compiled.plan, spec.where, where_scope, False)
        by_scope = self._create_scope("`by`", True, False)
        compiled.by = self._compile_value(compiled.plan, spec.by, by_scope, False)
        compiled.by_node = self._parse_expression(spec.by, by_scope, False) if compiled.by else None
        once_scope = self._create_scope("`once_per`", has_event, False)
        compiled.once_per = self._compile_value(compiled.plan, spec.once_per, once_scope, True)
        compiled.when = self._compile_condition(
            compiled.plan, spec.when, self._create_scope("`when`", has_event)
        )
        compiled.clear = self._compile_condition(
            compiled.plan, spec.clear, self._create_scope("`clear`", has_event)
        )
        compiled.steps = tuple(self._compile_step(compiled.plan, step) for step in spec.steps)
        if can_fire(self.rule, spec):
            compiled.lets = self._compile_let_values(compiled.plan, has_event)
        self._add_fingerprint_part(
            f"branch {_format_trigger_fingerprint(spec)} {[step.topic for step in spec.steps]}",
            *(
                condition.node if condition else None
                for condition in (compiled.where, compiled.when, compiled.clear)
            ),
            *(step.where.node if step.where else None for step in compiled.steps),
        )
        return compiled

    def _compile_let_values(
        self, plan: StatePlan, has_event: bool
    ) -> dict[str, CompiledExpression]:
        """Returns the `let` names as closures of a plan, where they make sense."""
        evaluators = {}
        for name, node in self.compiled_rule.lets.items():
            if has_event or "" not in node.lookups:
                try:
                    evaluators[name] = plan.compile_node(node)
                except ExpressionError:
                    continue  # a part of a larger expression, such as a list or a whole event
        return evaluators

    def _compile_step(self, plan: StatePlan, step: SequenceStep) -> CompiledStep:
        scope = self._create_scope("the `where` of a step", True, False)
        return CompiledStep(step.topic, self._compile_condition(plan, step.where, scope, False))

    def _compile_levels(self) -> None:
        alert, rule = self.rule.alert, self.rule
        if alert is None:
            return
        kinds = {compiled.spec.kind for compiled in self.compiled_rule.triggers}
        input_kind = "results" if rule.job is not None else "stream"
        plan, has_event = self._create_plan(), not (rule.job is None and kinds <= TIMED_KINDS)
        levels = []
        for severity in sorted(alert.levels, reverse=True):
            spec = alert.levels[severity]
            description = f"the level {severity.name.lower()}"
            scope = self._create_scope(description, has_event)
            when = self._compile_condition(plan, spec.when, scope)
            clear = self._compile_condition(plan, spec.clear, scope)
            levels.append(CompiledLevel(severity, spec, when, clear))
            self._add_fingerprint_part(
                f"level {severity} {spec.hold} {spec.clear_hold}",
                when.node if when else None,
                clear.node if clear else None,
            )
        per = self._compile_value(
            plan, alert.per, self._create_scope("`per`", has_event, False), True
        )
        self.compiled_rule.fingerprint_parts.append(f"{alert.expires} {alert.lasts} {alert.failed}")
        self.compiled_rule.levels = CompiledLevels(
            input_kind, plan, alert, tuple(levels), per, self._compile_let_values(plan, has_event)
        )

    def _check_job_inputs(self) -> None:
        if self.rule.job is None:
            return
        for name, input_spec in self.rule.job.inputs.items():
            scope = Scope(names={}, allows_windows=False, description=f"the input {name}")
            for expr in (input_spec.where, input_spec.start, input_spec.end):
                self._compile_condition(StatePlan(), expr, scope)


def compile_rule(rule: Rule) -> CompiledRule:
    """Returns the compiled rule, with the problems of its expressions."""
    return RuleCompiler(rule).compile()


def _shift_location(location: SourceLocation, offset: int) -> SourceLocation:
    return replace(location, column=location.column + offset) if location.line else location


def _split_identifiers(text: str) -> list[str]:
    cleaned = "".join(char if char.isalnum() or char == "_" else " " for char in text)
    return cleaned.split()


def _format_trigger_fingerprint(spec: TriggerSpec) -> str:
    spans: dict[str, Span | None] = {
        "hold": spec.hold, "clear_hold": spec.clear_hold, "every": spec.every,
        "stale": spec.stale_after, "forget": spec.forget_after, "within": spec.within,
    }  # fmt: skip
    names = (spec.kind, spec.topic, spec.schedule, spec.zone, spec.on_recovery)
    return f"{names} {sorted(spans.items(), key=str)}"
