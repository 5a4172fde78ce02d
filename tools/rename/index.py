"""Writes what every attribute and keyword of a checkout refers to, as mypy's types tell it.

    python index.py ROOT PYTHON OUT.pkl [FOLDER ...]

PYTHON is the interpreter of the environment in which the checkout's libraries are installed.
Run with Python 3.12 or newer, whose `ast` gives the true places inside f-strings, and mypy.
"""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import re
import sys

import mypy.nodes
import mypy.traverser
from mypy import build
from mypy import nodes as N
from mypy import types as T
from mypy.config_parser import parse_config_file
from mypy.find_sources import create_source_list
from mypy.options import Options
from mypy.state import state
from mypy.subtypes import is_subtype

gc.disable()
root, python, out = sys.argv[1:4]
PATHS = sys.argv[4:] or ["catcher", "jobs", "tests", "benchmarks", "alerts", "docs"]
MISSING = set()


def make_walker():
    """mypy's own traverser as a plain class: its compiled form cannot be subclassed."""
    source = open(mypy.traverser.__file__.rsplit(".", 2)[0].rsplit("/", 1)[0] + "/traverser.py").read()
    start, end = source.index("class TraverserVisitor"), source.index("class ExtendedTraverserVisitor")
    head = source[: source.rindex("@trait", 0, start) if "@trait" in source[:start] else start]
    body = re.sub(r"class TraverserVisitor\([^\n]*\):", "class Walker:", source[start:end])
    body = re.sub(r"([\w.\[\]]+)\.accept\(self\)", r"self.acc(\1)", body)
    body = body[: body.rindex("\n@")] if "\n@" in body else body
    scope = {}
    exec("from __future__ import annotations\n" + head.replace("from __future__ import annotations", "") + body, scope)

    def acc(self, node):
        if node is None:
            return
        name = type(node).__name__
        method = getattr(self, "visit_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), None)
        if method is None:
            MISSING.add(name)
        else:
            method(node)

    scope["Walker"].acc = acc
    return scope["Walker"]


TraverserVisitor = make_walker()


def analyse():
    os.chdir(root)
    options = Options()
    parse_config_file(options, lambda: None, "pyproject.toml", sys.stdout, sys.stderr)
    options.python_executable, options.python_version = python, (3, 11)
    options.preserve_asts = options.export_types = options.check_untyped_defs = True
    options.incremental = options.disallow_untyped_defs = options.disallow_untyped_calls = False
    options.mypy_path, options.cache_dir = [root], "/dev/null"
    options.explicit_package_bases = options.namespace_packages = True
    return build.build(create_source_list(PATHS, options), options)


r = analyse()
OURS = tuple(p + "." for p in ("catcher","jobs","tests","benchmarks","alerts","docs","lib"))
def ours(fullname): return fullname.startswith(OURS)
types = r.types
files = {}
for name, st in r.graph.items():
    t = st.tree
    if t is None or not st.path: continue
    p = st.path
    if p.startswith("/"):
        if not p.startswith(root.rstrip("/") + "/"): continue
        p = p[len(root.rstrip("/"))+1:]
    if p.startswith((".venv",)): continue
    files[name] = (p, t)
print(len(files), "files")

def infos_of(t, seen=None):
    t = T.get_proper_type(t)
    if isinstance(t, T.Instance):
        if t.type.fullname == "builtins.type" : return []
        return [t.type]
    if isinstance(t, T.UnionType): return [i for x in t.items for i in infos_of(x)]
    if isinstance(t, T.TypeVarType):
        if t.values: return [i for x in t.values for i in infos_of(x)]
        return infos_of(t.upper_bound)
    if isinstance(t, T.TupleType): return infos_of(t.partial_fallback)
    if isinstance(t, T.TypedDictType): return infos_of(t.fallback)
    if isinstance(t, T.LiteralType): return infos_of(t.fallback)
    if isinstance(t, T.TypeType): return infos_of(t.item)
    if isinstance(t, T.CallableType):
        if t.is_type_obj(): return infos_of(t.ret_type)
        return infos_of(t.fallback)
    if isinstance(t, T.Overloaded):
        return infos_of(t.items[0])
    return []
def is_any(t):
    t = T.get_proper_type(t)
    return t is None or isinstance(t, T.AnyType) or (isinstance(t, T.UnionType) and any(is_any(x) for x in t.items))

def definers(infos, name, skip_first=False):
    res = set()
    for info in infos:
        for k in (info.mro[1:] if skip_first else info.mro):
            if name in k.names:
                res.add(k.fullname); break
    return res

members, calls, classes = [], [], {}
class V(TraverserVisitor):
    def __init__(self, path): self.path = path
    def visit_member_expr(self, o):
        e = o.expr
        if isinstance(e, N.RefExpr) and isinstance(e.node, N.MypyFile):
            members.append((self.path, o.line, o.column, o.end_line, o.end_column, o.name, "module", {e.node.fullname}))
        else:
            t = types.get(e)
            if isinstance(e, N.RefExpr) and isinstance(e.node, N.TypeInfo):
                infos = [e.node]
            else:
                infos = infos_of(t) if t is not None else []
            d = definers(infos, o.name)
            kind = "ok" if d else ("any" if (t is None or is_any(t)) else "none")
            members.append((self.path, o.line, o.column, o.end_line, o.end_column, o.name, kind, d))
        TraverserVisitor.visit_member_expr(self, o)
    def visit_super_expr(self, o):
        info = o.info
        d = definers([info], o.name, True) if info is not None else set()
        members.append((self.path, o.line, o.column, o.end_line, o.end_column, o.name, "ok" if d else "none", d))
        TraverserVisitor.visit_super_expr(self, o)
    def target(self, c):
        """fullnames of functions or classes that an expression, called, runs"""
        res = set()
        if isinstance(c, N.RefExpr) and c.node is not None:
            n = c.node
            if isinstance(n, N.TypeInfo): return {("class", n.fullname)}
            if isinstance(n, N.TypeAlias):
                t = T.get_proper_type(n.target)
                if isinstance(t, T.Instance): return {("class", t.type.fullname)}
            if isinstance(n, (N.FuncDef, N.OverloadedFuncDef, N.Decorator)) and n.fullname:
                return {("func", n.fullname)}
        if isinstance(c, N.MemberExpr):
            t = types.get(c.expr)
            if t is not None:
                for d in definers(infos_of(t), c.name): res.add(("func", d + "." + c.name))
        if isinstance(c, N.SuperExpr) and c.info is not None:
            for d in definers([c.info], c.name, True): res.add(("func", d + "." + c.name))
        t = types.get(c)
        if t is not None:
            for x in (T.get_proper_type(t).items if isinstance(T.get_proper_type(t), T.UnionType) else [t]):
                x = T.get_proper_type(x)
                if isinstance(x, T.CallableType):
                    if x.is_type_obj(): res |= {("class", i.fullname) for i in infos_of(x.ret_type)}
                    elif x.definition is not None and getattr(x.definition, "fullname", ""): res.add(("func", x.definition.fullname))
                elif isinstance(x, T.TypeType): res |= {("class", i.fullname) for i in infos_of(x.item)}
                elif isinstance(x, T.Instance) and "__call__" in [n for k in x.type.mro for n in k.names]:
                    for d in definers([x.type], "__call__"): res.add(("func", d + ".__call__"))
        return res
    def visit_call_expr(self, o):
        if any(n for n in o.arg_names):
            tg = self.target(o.callee)
            names = {x[1] for x in tg}
            extra = set()
            if names & {"dataclasses.replace", "copy.replace"} and o.args:
                t = types.get(o.args[0])
                extra = {("class", i.fullname) for i in infos_of(t)} if t is not None else set()
            elif o.args and not any(ours(x) for x in names):
                extra = self.target(o.args[0])
            calls.append((self.path, o.line, o.column, o.end_line, o.end_column, tg | extra))
        TraverserVisitor.visit_call_expr(self, o)

def all_infos(names, seen):
    for n, sym in list(names.items()):
        x = sym.node
        if isinstance(x, N.TypeInfo) and id(x) not in seen:
            seen.add(id(x)); yield x; yield from all_infos(x.names, seen)
seen = set(); infos = []
class Local(TraverserVisitor):
    def visit_class_def(self, o):
        if o.info and id(o.info) not in seen:
            seen.add(id(o.info)); infos.append(o.info)
            infopath[o.info.fullname] = (self.path, o.line)
        TraverserVisitor.visit_class_def(self, o)
infopath = {}
for name, (p, t) in files.items():
    l = Local(); l.path = p
    l.acc(t)
    v = V(p); v.acc(t)
for info in infos:
    ext = set()
    for k in info.mro[1:]:
        if not ours(k.fullname) and k.fullname != "builtins.object": ext |= set(k.names)
    own = {n: type(s.node).__name__ for n, s in info.names.items()}
    classes[info.fullname] = dict(path=infopath[info.fullname][0], line=infopath[info.fullname][1], mro=[k.fullname for k in info.mro], own=own,
        protocol=info.is_protocol, ext=ext, dataclass="dataclass" in info.metadata, namedtuple=info.is_named_tuple, typeddict=info.typeddict_type is not None,
        data=any(k.fullname in ("pydantic.main.BaseModel","msgspec.Struct") for k in info.mro), enum=info.is_enum)
implements = []
with state.strict_optional_set(True):
    prots = [i for i in infos if i.is_protocol]
    anyt = T.AnyType(T.TypeOfAny.special_form)
    for p in prots:
        mem = [m for m in p.protocol_members]
        pi = T.Instance(p, [anyt]*len(p.defn.type_vars))
        for c in infos:
            if c is p or p in c.mro: continue
            if not all(any(m in k.names for k in c.mro) for m in mem): continue
            try: ok = is_subtype(T.Instance(c, [anyt]*len(c.defn.type_vars)), pi)
            except Exception as e: ok = None
            implements.append((c.fullname, p.fullname, ok, mem))
pickle.dump(dict(members=members, calls=calls, classes=classes, implements=implements, modules={n: p for n,(p,_) in files.items()}), open(out, "wb"))
print(len(members), len(calls), len(classes), len(implements), sum(1 for m in members if m[6]=="any"), sum(1 for m in members if m[6]=="none"))

print(MISSING, time.ctime())
