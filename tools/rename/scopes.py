"""Which scope each name of a module belongs to, with exact positions (Python 3.12's ast)."""
from __future__ import annotations
import ast, re
from dataclasses import dataclass, field

COMPS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

class Scope:
    def __init__(self, kind, node, parent, qual, fn):
        self.kind, self.node, self.parent, self.qual, self.fn = kind, node, parent, qual, fn  # fn: qualname of the enclosing function
        self.bindings = {}      # name -> list of lines
        self.params = []
        self.globals, self.nonlocals = set(), set()
        self.imports = {}       # name -> (module, symbol | None)
        self.index = 0
    def __repr__(self): return f"<{self.kind} {self.qual}>"

@dataclass(slots=True)
class Occ:
    line: int
    col: int          # byte offset
    name: str
    kind: str         # name def class param kw attr slots alias asname except global
    scope: Scope
    node: object = None
    extra: object = None
    stmts: tuple = ()  # enclosing For/With statements within the function, outermost first

class Analysis(ast.NodeVisitor):
    def __init__(self, text: str, modname: str):
        self.text = text; self.data = text.encode(); self.modname = modname
        self.lines = self.data.split(b"\n")
        self.tree = ast.parse(text)
        self.occs: list[Occ] = []; self.scopes: list[Scope] = []
        self.module = self.push("module", self.tree, None, "", "")
        self.scope = self.module
        self.loops = ()
        for s in self.tree.body: self.visit(s)
    def push(self, kind, node, parent, qual, fn):
        s = Scope(kind, node, parent, qual, fn); s.index = len(self.scopes); self.scopes.append(s); return s
    def inner(self, scope):
        return _In(self, scope)
    def occ(self, line, col, name, kind, node=None, extra=None, scope=None):
        got = self.lines[line-1][col:col+len(name.encode())].decode(errors="replace")
        assert got == name, (self.modname, line, col, name, got, kind)
        o = Occ(line, col, name, kind, scope or self.scope, node, extra, self.loops); self.occs.append(o); return o
    def bind(self, name, line, scope=None):
        (scope or self.scope).bindings.setdefault(name, []).append(line)
    def find(self, line, col, pattern):
        """position of group 1 of a pattern from a place on, over lines"""
        rest = b"\n".join(self.lines[line-1:line+40]); m = re.compile(pattern).search(rest, col)
        assert m, (self.modname, line, pattern)
        before = rest[:m.start(1)]; n = before.count(b"\n")
        return line + n, m.start(1) - (before.rfind(b"\n") + 1)
    # definitions
    def visit_FunctionDef(self, n): self.function(n, rb"def\s+(%s)\b" % n.name.encode())
    visit_AsyncFunctionDef = visit_FunctionDef
    def function(self, n, pat):
        for d in n.decorator_list: self.visit(d)
        line, col = self.find(n.lineno, n.col_offset, pat)
        self.bind(n.name, line); self.occ(line, col, n.name, "def", n)
        a = n.args
        for x in a.defaults + [k for k in a.kw_defaults if k]: self.visit(x)
        for x in self.args(a):
            if x.annotation: self.visit(x.annotation)
        if n.returns: self.visit(n.returns)
        q = f"{self.scope.qual}.{n.name}" if self.scope.qual else n.name
        s = self.push("function", n, self.scope, q, q)
        with self.inner(s):
            for x in self.args(a):
                self.bind(x.arg, x.lineno); s.params.append(x.arg)
                self.occ(x.lineno, x.col_offset, x.arg, "param", x)
            for b in n.body: self.visit(b)
    def args(self, a):
        return a.posonlyargs + a.args + ([a.vararg] if a.vararg else []) + a.kwonlyargs + ([a.kwarg] if a.kwarg else [])
    def visit_Lambda(self, n):
        a = n.args
        for x in a.defaults + [k for k in a.kw_defaults if k]: self.visit(x)
        s = self.push("lambda", n, self.scope, self.scope.qual, self.scope.fn)
        with self.inner(s):
            for x in self.args(a):
                self.bind(x.arg, x.lineno); self.occ(x.lineno, x.col_offset, x.arg, "param", x)
            self.visit(n.body)
    def visit_ClassDef(self, n):
        for d in n.decorator_list: self.visit(d)
        line, col = self.find(n.lineno, n.col_offset, rb"class\s+(%s)\b" % n.name.encode())
        self.bind(n.name, line); self.occ(line, col, n.name, "class", n)
        for b in n.bases: self.visit(b)
        for k in n.keywords: self.visit(k.value)
        q = f"{self.scope.qual}.{n.name}" if self.scope.qual else n.name
        s = self.push("class", n, self.scope, q, self.scope.fn)
        with self.inner(s):
            for b in n.body: self.visit(b)
    def comp(self, n, elts):
        self.visit(n.generators[0].iter)
        s = self.push("comp", n, self.scope, self.scope.qual, self.scope.fn)
        with self.inner(s):
            for i, g in enumerate(n.generators):
                if i: self.visit(g.iter)
                self.visit(g.target)
                for c in g.ifs: self.visit(c)
            for e in elts: self.visit(e)
    def visit_ListComp(self, n): self.comp(n, [n.elt])
    visit_SetComp = visit_GeneratorExp = visit_ListComp
    def visit_DictComp(self, n): self.comp(n, [n.key, n.value])
    # names
    def visit_Name(self, n):
        if isinstance(n.ctx, (ast.Store, ast.Del)): self.bind(n.id, n.lineno)
        self.occ(n.lineno, n.col_offset, n.id, "name", n)
    def visit_NamedExpr(self, n):
        s = self.scope
        while s.kind == "comp": s = s.parent
        self.bind(n.target.id, n.lineno, s); self.occ(n.target.lineno, n.target.col_offset, n.target.id, "name", n.target, scope=s)
        self.visit(n.value)
    def visit_Attribute(self, n):
        self.visit(n.value)
        self.occ(n.end_lineno, n.end_col_offset - len(n.attr.encode()), n.attr, "attr", n)
    def visit_Call(self, n):
        self.visit(n.func)
        for a in n.args: self.visit(a)
        for k in n.keywords:
            if k.arg: self.occ(k.lineno, k.col_offset, k.arg, "kw", k, n)
            self.visit(k.value)
        if isinstance(n.func, ast.Name) and n.func.id in ("getattr","setattr","hasattr","delattr") or isinstance(n.func, ast.Attribute) and n.func.attr in ("setattr","delattr","attrgetter"):
            for a in n.args[:2]:
                if isinstance(a, ast.Constant) and isinstance(a.value, str) and a.value.isidentifier():
                    self.occs.append(Occ(a.lineno, a.col_offset + 1, a.value, "strattr", self.scope, a, n))
    def loop(self, n, header, body):
        old = self.loops; self.loops = (*old, n)
        for x in header: self.visit(x)
        for x in body: self.visit(x)
        self.loops = old
    def visit_For(self, n):
        self.visit(n.iter); self.loop(n, [n.target], n.body + n.orelse)
    visit_AsyncFor = visit_For
    def visit_With(self, n):
        old = self.loops; self.loops = (*old, n)
        for i in n.items:
            self.visit(i.context_expr)
            if i.optional_vars: self.visit(i.optional_vars)
        for x in n.body: self.visit(x)
        self.loops = old
    visit_AsyncWith = visit_With
    def visit_ExceptHandler(self, n):
        if n.type: self.visit(n.type)
        if n.name:
            line, col = self.find(n.type.end_lineno, n.type.end_col_offset, rb"\bas\s+(%s)\b" % n.name.encode())
            self.bind(n.name, line); self.occ(line, col, n.name, "except", n)
        for b in n.body: self.visit(b)
    def visit_Global(self, n):
        for x in n.names:
            (self.scope.globals if isinstance(n, ast.Global) else self.scope.nonlocals).add(x)
            line, col = self.find(n.lineno, n.col_offset, rb"\b(%s)\b" % x.encode()); self.occ(line, col, x, "global", n)
    visit_Nonlocal = visit_Global
    def visit_Import(self, n):
        for a in n.names:
            if a.asname:
                self.bind(a.asname, a.lineno); self.scope.imports[a.asname] = (a.name, None)
                self.occ(a.end_lineno, a.end_col_offset - len(a.asname), a.asname, "asname", a)
            else:
                top = a.name.split(".")[0]; self.bind(top, a.lineno); self.scope.imports[top] = (top, None)
                self.occs.append(Occ(a.lineno, a.col_offset, top, "import", self.scope, a))
    def visit_ImportFrom(self, n):
        if n.level and not getattr(n, "absolute", False):   # relative: resolve, keep n.level
            pkg = self.modname.split(".")[:-n.level]
            n.module = ".".join([*pkg, *([n.module] if n.module else [])]); n.absolute = True
        for a in n.names:
            if a.name == "*": continue
            self.bind(a.asname or a.name, a.lineno); self.scope.imports[a.asname or a.name] = (n.module, a.name)
            self.occ(a.lineno, a.col_offset, a.name, "alias", a, n)
            if a.asname: self.occ(a.end_lineno, a.end_col_offset - len(a.asname), a.asname, "asname", a, n)
    def visit_MatchAs(self, n):
        if n.pattern: self.visit(n.pattern)
        if n.name:
            self.bind(n.name, n.lineno)
            self.occ(n.end_lineno, n.end_col_offset - len(n.name.encode()), n.name, "name", n)
    def visit_MatchStar(self, n):
        if n.name:
            self.bind(n.name, n.lineno); self.occ(n.end_lineno, n.end_col_offset - len(n.name.encode()), n.name, "name", n)
    def visit_MatchMapping(self, n):
        for k in n.keys: self.visit(k)
        for p in n.patterns: self.visit(p)
        if n.rest:
            self.bind(n.rest, n.lineno)
            line, col = self.find(n.lineno, n.col_offset, rb"\*\*\s*(%s)\b" % n.rest.encode()); self.occ(line, col, n.rest, "name", n)
    def visit_MatchClass(self, n):
        self.visit(n.cls)
        for p in n.patterns: self.visit(p)
        for k, p in zip(n.kwd_attrs, n.kwd_patterns):
            line = p.lineno; seg = self.lines[line-1][:p.col_offset]
            m = list(re.finditer(rb"\b(%s)\s*=\s*$" % k.encode(), seg))
            if m: self.occs.append(Occ(line, m[-1].start(1), k, "matchkw", self.scope, n))
            else: print("MATCHKW?", self.modname, line, k)
            self.visit(p)
    def visit_Assign(self, n):
        self.generic_visit(n)
        if self.scope.kind == "class" and any(isinstance(t, ast.Name) and t.id in ("__slots__","__match_args__") for t in n.targets):
            for c in ast.walk(n.value):
                if isinstance(c, ast.Constant) and isinstance(c.value, str):
                    self.occs.append(Occ(c.lineno, c.col_offset + 1, c.value, "slots", self.scope, c))
        if self.scope.kind == "module" and any(isinstance(t, ast.Name) and t.id == "__all__" for t in n.targets):
            for c in ast.walk(n.value):
                if isinstance(c, ast.Constant) and isinstance(c.value, str):
                    self.occs.append(Occ(c.lineno, c.col_offset + 1, c.value, "all", self.scope, c))
    def resolve(self, scope, name):
        """the scope in which a name seen from one is bound; None: a builtin"""
        first = True; s = scope
        while s is not None:
            if s.kind == "class" and not first: s = s.parent; continue
            if name in s.globals: return self.module
            if name in s.nonlocals: s = s.parent; first = False; continue
            if name in s.bindings: return s
            if s.kind != "comp": first = False
            else: first = False
            s = s.parent
        return None

class _In:
    def __init__(self, a, s): self.a, self.s = a, s
    def __enter__(self):
        self.old, self.loops = self.a.scope, self.a.loops; self.a.scope = self.s
        if self.s.kind in ("function","class"): self.a.loops = ()
    def __exit__(self, *x): self.a.scope, self.a.loops = self.old, self.loops
