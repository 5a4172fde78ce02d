"""Renames classes, functions, attributes and locals after a table, with mypy's types as the guide.

python rename.py ROOT INDEX TABLES... [--kinds class,function,attribute,global,local] [--report FILE] [--write]
"""
from __future__ import annotations
import ast, collections, os, pickle, re, subprocess, sys
sys.path.insert(0, os.path.dirname(__file__))
from scopes import Analysis, Occ

args = sys.argv[1:]
def opt(name, default=None):
    if name in args:
        i = args.index(name); v = args[i+1]; del args[i:i+2]; return v
    return default
kinds = set(opt("--kinds", "class,function,attribute,global,local,fixture").split(","))
report = open(opt("--report", "rename-report.txt"), "w")
write = "--write" in args
if write: args.remove("--write")
root, index = args[0], pickle.load(open(args[1], "rb"))
tables = [os.path.abspath(t) for t in args[2:]]
os.chdir(root)
def say(*x): print(*x, file=report)

ROOTS = ("catcher","jobs","tests","benchmarks","alerts","docs")
paths = [f for f in subprocess.run(["git","ls-files","*.py"],capture_output=True,text=True).stdout.split() if os.path.exists(f)]
def modname(path):
    m = path[:-3].replace("/", "."); return m.removesuffix(".__init__")
A = {}
for p in paths: A[p] = Analysis(open(p, encoding="utf-8").read(), modname(p))
MOD = {a.modname: p for p, a in A.items()}

# classes: scope <-> mypy's full name
by_line = {(c["path"], c["line"]): n for n, c in index["classes"].items()}
CLS = index["classes"]
for p, a in A.items():
    for s in a.scopes:
        if s.kind == "class":
            s.full = by_line.get((p, s.node.lineno)) or f"{a.modname}.{s.qual}"
class_scope = {s.full: (p, s) for p, a in A.items() for s in a.scopes if s.kind == "class"}
def own_class(full): return full in class_scope

def origin(mod, name, depth=0):
    """where a name of a module is defined: ("g", module, name), ("mod", module) or None (not ours)"""
    if depth > 20: return None
    p = MOD.get(mod)
    if p is None: return None
    m = A[p].module
    if name in m.imports and len(m.bindings.get(name, ())) == 1:
        src, sym = m.imports[name]
        if sym is None: return ("mod", src) if src in MOD else None
        if sym != name and src in MOD: return ("g", mod, name)
        if src in MOD and src != mod and sym in A[MOD[src]].module.bindings: return origin(src, sym, depth + 1)
        if f"{src}.{sym}" in MOD: return ("mod", f"{src}.{sym}")
        if src in MOD:
            if sym != name and name not in ():  # bound under another name: a name of its own
                pass
            return origin(src, sym, depth + 1) or ("g", src, sym)
        return None
    if name in m.bindings: return ("g", mod, name)
    if f"{mod}.{name}" in MOD: return ("mod", f"{mod}.{name}")
    # lazily given names (__getattr__): look for a class of that name below
    hits = [(q, name) for q in MOD if q.startswith(mod + ".") and name in A[MOD[q]].module.bindings and name not in A[MOD[q]].module.imports]
    if len(hits) == 1: return ("g", *hits[0])
    return None

# families of attributes
parent = {}
def root_of(x):
    parent.setdefault(x, x)
    while parent[x] != x: parent[x] = parent[parent[x]]; x = parent[x]
    return x
def union(x, y):
    a, b = root_of(x), root_of(y)
    if a != b: parent[a] = b
frozen = {}
def definer(full, name):
    c = CLS.get(full)
    if c is None: return None
    for k in c["mro"]:
        if k in CLS and name in CLS[k]["own"]: return k
    return None
for full, c in CLS.items():
    for n in c["own"]:
        if n.startswith("__") and n.endswith("__"): continue
        for b in c["mro"][1:]:
            if b in CLS and n in CLS[b]["own"] and not (n.startswith("__")): union((full, n), (b, n))
        if n in c["ext"]: frozen[(full, n)] = "defined by a foreign base"
        if c["typeddict"] or c["data"]:
            if c["own"][n] == "Var": frozen[(full, n)] = "data model field"
        if c["enum"]: pass
for c, p, ok, mem in index["implements"]:
    if ok is False: continue
    for m in mem:
        d, e = definer(c, m), definer(p, m)
        if d and e and not (m.startswith("__") and m.endswith("__")): union((d, m), (e, m))
MEM = collections.defaultdict(set); MEMKIND = {}
for path, l, c, el, ec, name, kind, d in index["members"]:
    ds = {x for x in d if x in CLS} if kind != "module" else set()
    key = (path, el, ec, name)
    if kind == "module": MEM[key] |= {("m", x) for x in d}
    else: MEM[key] |= {("a", x) for x in ds}
    MEMKIND[key] = kind if not ds or kind == "module" else "ok"
    ds = sorted(ds)
    for x in ds[1:]: union((ds[0], name), (x, name))
CALL = collections.defaultdict(set)
for path, l, c, el, ec, t in index["calls"]: CALL[(path, l, c, el, ec)] |= t

# rows
G, ATT, LOC, FIX = {}, {}, {}, {}
local_defs = {}
prio = {}
nrows = collections.Counter(); missing = []
SC = collections.defaultdict(list)     # (path, qual) -> function scopes
for p, a in A.items():
    for s in a.scopes:
        if s.kind in ("function", "class"): SC[(p, s.qual)].append(s)
att_rows = collections.defaultdict(list)
for t in tables:
    for i, line in enumerate(open(t, encoding="utf-8"), 1):
        line = line.rstrip("\n")
        if not line or line.startswith("#"): continue
        cols = [x.strip() for x in line.split("\t")]
        if len(cols) < 4: say("BADROW", t, i, line); continue
        kind, path, name, new = cols[:4]
        if kind == "parametrize": kind = "local"
        if kind == "module" or kind not in kinds: continue
        nrows[kind] += 1
        if not new.isidentifier(): say("BADNAME", t, i, line); continue
        if path not in A: say("NOPATH", t, i, line); continue
        a = A[path]
        if kind == "local":
            qual, _, old = name.rpartition(":"); at = None
            if "@" in old: old, at = old.split("@"); at = int(at)
            if old == new: continue
            ok = qual == "" or (path, qual) in SC
            if not ok: say("NOFUNC", t, i, line); continue
            LOC[(path, qual, old, at)] = (new, f"{t}:{i}")
            continue
        if kind == "fixture":
            FIX[(path, name)] = new; G[(a.modname, name)] = (new, f"{t}:{i}"); continue
        outer, _, last = name.rpartition(".")
        if last == new: continue
        if not outer:
            if last not in a.module.bindings: say("NONAME", t, i, line); continue
            G[(a.modname, last)] = (new, f"{t}:{i}")
        else:
            sc = SC.get((path, outer))
            if not sc: say("NOOUTER", t, i, line); continue
            if sc[0].kind == "class":
                for s in sc: att_rows[(s.full, last)].append((new, f"{t}:{i}", kind))
                if last not in CLS.get(sc[0].full, {}).get("own", {}) : 
                    d = definer(sc[0].full, last)
                    if d: att_rows[(d, last)].append((new, f"{t}:{i}", kind))
                    else: say("NOATTR", t, i, line)
            else:
                if not any(last in s.bindings for s in sc): say("NOINNER", t, i, line); continue
                LOC[(path, outer, last, None)] = (new, f"{t}:{i}")
# resolve families
fam = collections.defaultdict(list)
for key, rows in att_rows.items():
    for r in rows: fam[root_of(key)].append((key, r))
members_of = collections.defaultdict(set)
for k in list(parent): members_of[root_of(k)].add(k)
FAM = {}
for f, lst in fam.items():
    fr = [frozen[k] for k in members_of[f] | {f} if k in frozen]
    if fr: say("FROZEN", f, fr[0], [(k, r[0], r[1]) for k, r in lst]); continue
    news = {r[0] for _, r in lst}
    if len(news) > 1:
        # protocol first, then the one that is most a base
        def rank(item):
            k, r = item; c = CLS.get(k[0], {})
            return (not c.get("protocol"), len(c.get("mro", ())), "n1.tsv" not in r[1])
        best = sorted(lst, key=rank)[0]
        say("CONFLICT", f, [(k, r[0], r[1]) for k, r in lst], "->", best[1][0])
        FAM[f] = best[1][0]
    else: FAM[f] = news.pop()
def att_new(full, name):
    return FAM.get(root_of((full, name))) if (full, name) in parent or (full, name) in FAM else None

# locals: for each function scope name -> new; per binding scope
def fixture_new(path, name):
    if not FIX: return None
    m = A[path].modname
    own = FIX.get((path, name))
    if own: return own
    parts = path.split("/")[:-1]
    while parts:
        own = FIX.get(("/".join(parts) + "/conftest.py", name))
        if own: return own
        parts.pop()
    o = origin(m, name)
    if o and o[0] == "g": return FIX.get((MOD[o[1]], o[2]))
    return None
def scope_rows(path, a):
    """(scope.index, name) -> new and, for parts of a function's scope, (scope.index, name, id(stmt)) -> new"""
    res = {}; used = set()
    for s in a.scopes:
        if s.kind in ("function", "comp", "lambda", "module"):
            for name, lines in s.bindings.items():
                fn = s.fn
                if s.kind == "module": continue
                if s.kind in ("comp", "lambda"):
                    for at in lines:
                        r = LOC.get((path, fn, name, at))
                        if r: res[(s.index, name)] = r[0]; used.add((path, fn, name, at)); break
                    else:
                        span = range(s.node.lineno, s.node.end_lineno + 1)
                        cand = [(k, r) for k, r in LOC.items() if k[0] == path and k[1] == fn and k[2] == name and k[3] in span] if any(True for _ in span) else []
                        if cand: res[(s.index, name)] = cand[0][1][0]; used.add(cand[0][0])
                        else:
                            r = LOC.get((path, fn, name, None))
                            if r: res[(s.index, name)] = r[0]; used.add((path, fn, name, None))
                else:
                    r = LOC.get((path, fn, name, None))
                    if r: res[(s.index, name)] = r[0]; used.add((path, fn, name, None))
                    ats = {k[3]: v[0] for k, v in LOC.items() if k[0] == path and k[1] == fn and k[2] == name and k[3] is not None}
                    if ats: res[(s.index, name, "at")] = ats
    return res, used
def local_drop(p, s, name): return per[p].get((s.index, name))
LOCP = collections.defaultdict(dict)
for k, v in LOC.items(): LOCP[k[0]][k] = v
_all_LOC = LOC
PARAM = {}   # function full name -> {old: new}
edits = collections.defaultdict(dict)
def edit(path, o, new, col=None):
    if new == o.name: return
    key = (o.line, o.col)
    prev = edits[path].get(key)
    if prev and prev[1] != new: say("TWICE", path, o.line, o.name, prev, new)
    edits[path][key] = (o.name, new)

per = {}
for p, a in A.items():
    LOC = LOCP.get(p, {})
    per[p], used = scope_rows(p, a)
    for k, v in LOC.items():
        if k not in used and k[3] is None and not any((s.index, k[2]) in per[p] for s in SC.get((p, k[1]), ())): say("UNUSEDLOCAL", k, v)
# fixtures: parameters
if FIX:
    for p, a in A.items():
        if not p.startswith("tests/"): continue
        for s in a.scopes:
            if s.kind == "function":
                test = s.node.name.startswith("test") or any("fixture" in ast.unparse(d) for d in s.node.decorator_list)
                if test:
                    for x in s.params:
                        n = fixture_new(p, x)
                        if n: per[p][(s.index, x)] = n
# family parameters: base's rename is everybody's
func_scopes = {}
for p, a in A.items():
    for s in a.scopes:
        if s.kind == "function":
            full = f"{a.modname}.{s.qual}"
            if s.parent.kind == "class": full = f"{s.parent.full}.{s.node.name}"
            func_scopes.setdefault(full, []).append((p, s))
for f, ms in members_of.items():
    fs = [(k, x) for k in ms for x in func_scopes.get(f"{k[0]}.{k[1]}", ())]
    if len(fs) < 2: continue
    def rk(it):
        c = CLS.get(it[0][0], {}); return (not c.get("protocol"), len(c.get("mro", ())))
    fs.sort(key=rk)
    want = {}
    for k, (p, s) in fs:
        for x in s.params:
            n = per[p].get((s.index, x))
            if n and x not in want: want[x] = n
    for k, (p, s) in fs:
        for x in s.params:
            if x in want and x != "self":
                per[p][(s.index, x)] = want[x]
for full, lst in func_scopes.items():
    d = {}
    for p, s in lst:
        for x in s.params:
            n = per[p].get((s.index, x))
            if n: d[x] = n
    if d: PARAM[full] = d

def kw_new(path, o):
    call = o.extra
    t = CALL.get((path, call.lineno, call.col_offset, call.end_lineno, call.end_col_offset), ())
    news = set()
    hit = False
    for kind, full in t:
        if kind == "func":
            if full in func_scopes:
                for p, s in func_scopes[full]:
                    if o.name in s.params: hit = True; news.add(PARAM.get(full, {}).get(o.name, o.name))
        else:
            c = CLS.get(full)
            if c is None: continue
            ini = next((k for k in c["mro"] if k in CLS and "__init__" in CLS[k]["own"] and not CLS[k]["dataclass"]), None)
            explicit = ini and f"{ini}.__init__" in func_scopes
            if explicit and any(o.name in s.params for _, s in func_scopes[f"{ini}.__init__"]):
                hit = True; news.add(PARAM.get(f"{ini}.__init__", {}).get(o.name, o.name))
            else:
                d = definer(full, o.name)
                if d: hit = True; news.add(att_new(d, o.name) or o.name)
    if len(news) == 1: return news.pop()
    if len(news) > 1: say("KWCONFLICT", path, o.line, o.name, t, news)
    if not hit:
        if (path, o.line, o.name) in MANUAL: return MANUAL[(path, o.line, o.name)]
        old = {k[1] for k in FAM} | {x for d in PARAM.values() for x in d}
        if o.name in old and (not t or any(x[1].startswith(("catcher.","tests.","jobs.","benchmarks.","functools.partial")) for x in t)): say("KWUNKNOWN", path, o.line, o.name, sorted(t)[:3], ast.unparse(call)[:140].replace(chr(10), " "))
    return None

names_new = collections.defaultdict(set)    # attribute name -> new names of all families
for f, n in FAM.items(): names_new[f[1]].add(n)
own_names = collections.Counter(k[1] for k in parent)
unrenamed = collections.defaultdict(set)
for c, d in CLS.items():
    for n in d["own"]:
        if root_of((c, n)) not in FAM: unrenamed[n].add(c)

MANUAL = {}
for l in open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "manual.tsv")):
    c = l.rstrip("\n").split("\t")
    if len(c) == 4: MANUAL[(c[0], int(c[1]), c[2])] = c[3]

for p, a in A.items():
    rows = per[p]
    for o in a.occs:
        if o.kind in ("name", "def", "class", "param", "except", "global", "asname", "import"):
            if o.kind == "import": continue
            s = a.resolve(o.scope, o.name) if o.kind != "asname" else o.scope
            if s is None: continue
            if s.kind == "module":
                if o.kind == "asname" and o.node.asname != o.node.name: og = ("g", a.modname, o.name)
                else:
                    og = origin(a.modname, o.name)
                    imp = s.imports.get(o.name)
                    if imp and imp[1] is not None and imp[1] != o.name: og = ("g", a.modname, o.name)
                if og and og[0] == "g" and (og[1], og[2]) in G: edit(p, o, G[(og[1], og[2])][0])
            elif s.kind == "class":
                d = definer(s.full, o.name) or s.full
                n = att_new(d, o.name)
                if n: edit(p, o, n)
            else:
                n = rows.get((s.index, o.name))
                ats = rows.get((s.index, o.name, "at"))
                if ats:
                    hit = None
                    for st in o.stmts:
                        hdr = range(st.lineno, st.end_lineno + 1)
                        tg = [st.target] if hasattr(st, "target") else [i.optional_vars for i in st.items if i.optional_vars]
                        if any(isinstance(x, ast.Name) and x.id == o.name for t in tg for x in ast.walk(t)):
                            for at, v in ats.items():
                                if at in hdr: hit = v
                    if hit is None:
                        # a plain binding: split only if every use up to the next binding follows it in straight order
                        bl = sorted(set(s.bindings[o.name]))
                        prev = [b for b in bl if b <= o.line]
                        if prev and prev[-1] in ats and not o.stmts: hit = ats[prev[-1]]
                        elif len(bl) == 1 and len(ats) == 1: hit = next(iter(ats.values()))
                    if hit: n = hit
                if n: edit(p, o, n)
                elif s.imports.get(o.name):
                    src, sym = s.imports[o.name]
                    if sym and sym == o.name and src in MOD:
                        og = origin(src, sym) or ("g", src, sym)
                        if og[0] == "g" and (og[1], og[2]) in G: edit(p, o, G[(og[1], og[2])][0])
        elif o.kind == "alias":
            src = o.extra.module
            if src in MOD:
                og = origin(src, o.name) or ("g", src, o.name)
                if og[0] == "g" and (og[1], og[2]) in G: edit(p, o, G[(og[1], og[2])][0])
        elif o.kind == "attr":
            n = o.node
            tg = MEM.get((p, n.end_lineno, n.end_col_offset, o.name))
            if isinstance(n.value, ast.Name):
                s = a.resolve(o.scope, n.value.id)
                if s is not None and s.imports.get(n.value.id):
                    src, sym = s.imports[n.value.id]
                    m = src if sym is None else f"{src}.{sym}"
                    if m in MOD: tg = {("m", m)}
            if not tg:
                kind = MEMKIND.get((p, n.end_lineno, n.end_col_offset, o.name))
                if o.name in names_new and kind in (None, "any", "none"):
                    if (p, o.line, o.name) in MANUAL:
                        edit(p, o, MANUAL[(p, o.line, o.name)])
                    elif False:
                        edit(p, o, next(iter(names_new[o.name]))); say("GUESSED", p, o.line, ast.unparse(n)[:80], names_new[o.name], kind)
                    else: say("UNTYPED", p, o.line, ast.unparse(n)[:80], sorted(names_new[o.name]), kind, len(unrenamed[o.name]))
                continue
            news = set()
            for k, x in tg:
                if k == "m":
                    og = origin(x, o.name)
                    if og and og[0] == "g" and (og[1], og[2]) in G: news.add(G[(og[1], og[2])][0])
                    else: news.add(o.name)
                else:
                    news.add(att_new(x, o.name) or o.name)
            if len(news) == 1: edit(p, o, news.pop())
            else: say("ATTRCONFLICT", p, o.line, o.name, tg, news)
        elif o.kind == "slots":
            n = att_new(o.scope.full, o.name)
            if n: edit(p, o, n)
        elif o.kind == "all":
            og = origin(a.modname, o.name)
            if og and og[0] == "g" and (og[1], og[2]) in G: edit(p, o, G[(og[1], og[2])][0])
        elif o.kind == "kw":
            n = kw_new(p, o)
            if n: edit(p, o, n)
        elif o.kind in ("matchkw",):
            c = o.node.cls
            full = None
            if isinstance(c, ast.Name):
                sc = a.resolve(o.scope, c.id)
                og = origin(a.modname, c.id) if sc is not None and sc.kind == "module" else None
                if og and og[0] == "g": full = f"{og[1]}.{og[2]}"
            elif isinstance(c, ast.Attribute) and isinstance(c.value, ast.Name):
                src = a.module.imports.get(c.value.id)
                m = src and (src[0] if src[1] is None else f"{src[0]}.{src[1]}")
                og = origin(m, c.attr) if m in MOD else None
                if og and og[0] == "g": full = f"{og[1]}.{og[2]}"
            if full in CLS:
                d = definer(full, o.name); n = att_new(d, o.name) if d else None
                if n: edit(p, o, n)
            elif o.name in names_new: say("MATCHKW?", p, o.line, o.name, ast.unparse(c), names_new[o.name])
        elif o.kind == "strattr":
            first = o.extra.args[0] if o.extra.args else None
            done = False
            if isinstance(first, ast.Name) and first is not o.node:
                sc = a.resolve(o.scope, first.id)
                og = origin(a.modname, first.id) if sc is not None and sc.kind == "module" else None
                if og and og[0] == "mod":
                    t = origin(og[1], o.name); done = True
                    if t and t[0] == "g" and (t[1], t[2]) in G: edit(p, o, G[(t[1], t[2])][0])
                elif og and og[0] == "g" and f"{og[1]}.{og[2]}" in CLS:
                    d = definer(f"{og[1]}.{og[2]}", o.name); done = True
                    n = att_new(d, o.name) if d else None
                    if n: edit(p, o, n)
            if done: continue
            g = {v[0] for (m, x), v in G.items() if x == o.name} | names_new.get(o.name, set())
            if g: say("STRATTR", p, o.line, ast.unparse(o.extra)[:100], g)

for p, a in A.items():
    for node in ast.walk(a.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(("catcher.","tests.","benchmarks.","jobs.")) and node.lineno == node.end_lineno:
            m, _, last = node.value.rpartition(".")
            if m in MOD and f"{m}.{last}" not in MOD:
                t = origin(m, last)
                if t and t[0] == "g" and (t[1], t[2]) in G:
                    seg = a.lines[node.lineno-1][node.col_offset:node.end_col_offset].decode()
                    i = seg.rfind(last)
                    if i >= 0: edit(p, type("F", (), dict(line=node.lineno, col=node.col_offset + len(seg[:i].encode()), name=last))(), G[(t[1], t[2])][0])
for p, a in A.items():
    for node in a.tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name) and node.value.args \
                and isinstance(node.value.args[0], ast.Constant) and node.value.args[0].value == node.targets[0].id:
            n = G.get((a.modname, node.targets[0].id))
            if n: c = node.value.args[0]; edit(p, type("F", (), dict(line=c.lineno, col=c.col_offset + 1, name=c.value))(), n[0])
class Fake:
    def __init__(self, line, col, name): self.line, self.col, self.name = line, col, name
for p, a in A.items():
    for s in a.scopes:
        if s.kind != "function": continue
        for d in s.node.decorator_list:
            if not isinstance(d, ast.Call): continue
            fname = d.func.attr if isinstance(d.func, ast.Attribute) else getattr(d.func, "id", "")
            for x in s.params:
                n = per[p].get((s.index, x))
                if not n: continue
                if fname == "parametrize" and d.args:
                    for c in ast.walk(d.args[0]):
                        if isinstance(c, ast.Constant) and isinstance(c.value, str) and c.lineno == c.end_lineno:
                            seg = a.lines[c.lineno-1][c.col_offset:c.end_col_offset].decode()
                            for m in re.finditer(r"(?<![\w])" + re.escape(x) + r"(?![\w])", seg):
                                edit(p, Fake(c.lineno, c.col_offset + m.start(), x), n)
                elif fname in ("given", "example", "patch", "wraps"):
                    for k in d.keywords:
                        if k.arg == x: edit(p, Fake(k.lineno, k.col_offset, x), n)
        # usefixtures("name") and request.getfixturevalue("name")
if FIX:
    for p, a in A.items():
        for node in ast.walk(a.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("usefixtures", "getfixturevalue"):
                for c in node.args:
                    if isinstance(c, ast.Constant) and isinstance(c.value, str):
                        n = fixture_new(p, c.value)
                        if n: edit(p, Fake(c.lineno, c.col_offset + 1, c.value), n)

def apply(path, ed):
    lines = A[path].data.split(b"\n")
    for (l, c) in sorted(ed, reverse=True):
        old, new = ed[(l, c)]; ob = old.encode()
        assert lines[l-1][c:c+len(ob)] == ob, (path, l, c, old, lines[l-1])
        lines[l-1] = lines[l-1][:c] + new.encode() + lines[l-1][c+len(ob):]
    return b"\n".join(lines).decode()

def verify(path, ed):
    """names resolve in the new text as they did in the old; gives the edits to drop"""
    old = A[path]; text = apply(path, ed)
    try: new = Analysis(text, old.modname)
    except (SyntaxError, AssertionError) as e: say("SYNTAX", path, e); return None
    assert len(old.scopes) == len(new.scopes), path
    bad = set()
    fwd = {}; back = {}
    oo = [o for o in old.occs if o.kind in ("name","def","class","param","except","asname","import","global","alias")]
    nn = [o for o in new.occs if o.kind in ("name","def","class","param","except","asname","import","global","alias")]
    assert len(oo) == len(nn), (path, len(oo), len(nn))
    for x, y in zip(oo, nn):
        if x.kind == "alias" and x.node.asname: continue
        sx = old.resolve(x.scope, x.name); sy = new.resolve(y.scope, y.name)
        kx = (sx.index if sx else -1, x.name); ky = (sy.index if sy else -1, y.name)
        if kx[0] != ky[0]: bad.add((kx, ky, x.line)); continue
        if fwd.setdefault(kx, ky) != ky: bad.add(("split", kx, ky, fwd[kx], x.line)) if (kx[0], kx[1], "at") not in per[path] else None
        if back.setdefault(ky, kx) != kx: bad.add(("merge", kx, back[ky], ky, x.line))
    return bad, old
total = 0; dropped = 0
out = {}
for p in A:
    ed = edits.get(p)
    if not ed: continue
    for _ in range(12):
        res = verify(p, ed)
        if res is None: break
        bad, old = res
        if not bad: break
        # drop every edit of the local names involved (never of globals, which other files follow)
        drop = set()
        for b in bad:
            ks = [k for k in b if isinstance(k, tuple)]
            for sc, nm in ks:
                drop.add((sc, nm))
            say("CLASH", p, b)
        n0 = len(ed)
        news = {nm for _, nm in drop}
        gone = 0
        for o in old.occs:
            e = ed.get((o.line, o.col))
            if not e: continue
            s = old.resolve(o.scope, o.name) if o.kind in ("name","def","class","param","except","global") else None
            if s is not None and s.kind in ("function","comp","lambda") and ((s.index, o.name) in drop or (s.index, e[1]) in drop):
                del ed[(o.line, o.col)]; gone += 1; say("DROP", p, o.line, o.name, e[1])
                # keyword uses of a dropped parameter
        dropped += gone
        if not gone: say("UNRESOLVED", p, bad); break
    total += len(ed)
    out[p] = apply(p, ed)
# classes with two attributes of one new name
cl = collections.defaultdict(set)
for full, c in CLS.items():
    seen = {}
    for k in c["mro"]:
        if k not in CLS: continue
        for n in CLS[k]["own"]:
            x = att_new(k, n) or n
            if seen.setdefault(x, n) != n: say("CLASSCLASH", full, x, seen[x], n)
print("rows", dict(nrows), "edits", total, "files", len(out), "dropped", dropped)
if write:
    for p, t in out.items(): open(p, "w", encoding="utf-8").write(t)
pickle.dump(dict(G=G, FAM=FAM, parent=parent, per=per, members_of=dict(members_of)), open("renames.pkl", "wb"))
