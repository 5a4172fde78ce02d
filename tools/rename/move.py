"""Moves modules: python move.py ROOT MOVES   (lines `old/path.py<TAB>new/path.py`; folds are done by fold.py)

Rewrites imports, module names that are used as names, and dotted or slashed references in text.
"""
from __future__ import annotations
import ast, os, re, subprocess, sys
sys.path.insert(0, os.path.dirname(__file__))
from scopes import Analysis

root, table = sys.argv[1:3]
os.chdir(root)
moves = dict(l.rstrip("\n").split("\t")[:2] for l in open(table) if l.strip() and not l.startswith("#"))
moves = {a: b for a, b in moves.items() if a != b}
def mod(path): return path[:-3].replace("/", ".").removesuffix(".__init__")
M = {mod(a): mod(b) for a, b in moves.items()}
PK = {mod(a) for a in moves if a.endswith("__init__.py")}
tracked = subprocess.run(["git","ls-files"],capture_output=True,text=True).stdout.split("\n")
tracked = [f for f in tracked if f and os.path.isfile(f)]
py = [f for f in tracked if f.endswith(".py")]
MODS = {mod(f) for f in py} | set(M)
SYMBOL = {}     # (old module, name) -> new module: names that a package gives from another room now
if len(sys.argv) > 3:
    for l in open(sys.argv[3]):
        p = l.split()
        if len(p) == 3: SYMBOL[(p[0], p[1])] = p[2]

def render(node, aliases_by_module, indent):
    out = []
    for m, al in aliases_by_module.items():
        names = ", ".join(a if b is None else f"{a} as {b}" for a, b in al)
        line = f"from {m} import {names}"
        if len(line) + len(indent) > 100:
            line = f"from {m} import (\n" + "".join(f"{indent}    {a if b is None else f'{a} as {b}'},\n" for a, b in al) + f"{indent})"
        out.append(line)
    return ("\n" + indent).join(out)


def rewrite_text():
    dotted = sorted(MODS, key=len, reverse=True)
    rx = re.compile(r"(?<![\w.])(" + "|".join(re.escape(m) for m in dotted if "." in m) + r")(?![\w])")
    slashed = dict(moves)
    short = {}
    for a, b in moves.items():
        if a.startswith("catcher/") and a.count("/") > 1: short[a[8:]] = b[8:] if b.startswith("catcher/") else b
    rs = re.compile(r"(?<![\w/])(" + "|".join(re.escape(m) for m in sorted(slashed, key=len, reverse=True)) + r")(?![\w])")
    rshort = re.compile(r"(?<![\w/])(" + "|".join(re.escape(m) for m in sorted(short, key=len, reverse=True)) + r")(?![\w])") if short else None
    def sub(t):
        t = rs.sub(lambda m: slashed[m[1]], t)
        if rshort: t = rshort.sub(lambda m: short[m[1]], t)
        return rx.sub(lambda m: M.get(m[1], m[1]), t)
    SKIP = ("CHANGELOG.md", "requirements.lock")
    for f in tracked:
        if f in SKIP or (f.startswith(("tests/upgrade/", "tests/goldens/", "benchmarks/results", "tools/rename")) and not f.endswith(".py")): continue
        try: t = open(f, encoding="utf-8").read()
        except UnicodeDecodeError: continue
        if f.endswith(".py"):
            import io, tokenize
            lines = t.split("\n"); reps = []
            for tok in tokenize.generate_tokens(io.StringIO(t).readline):
                if tok.type in (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)):
                    n = sub(tok.string)
                    if n != tok.string and not (tok.type == getattr(tokenize, "FSTRING_MIDDLE", -1) and ("{" in tok.string or "}" in tok.string)): reps.append((tok.start, tok.end, n))
            for (sl, sc), (el, ec), n in reversed(reps):
                head = lines[sl-1][:sc]; tail = lines[el-1][ec:]
                lines[sl-1:el] = (head + n + tail).split("\n")
            n = "\n".join(lines)
        else: n = sub(t)
        if n != t: open(f, "w", encoding="utf-8").write(n)
rewrite_text()

problems = []
for f in py:
    text = open(f, encoding="utf-8").read()
    if not any(m.rsplit(".",1)[-1] in text for m in M): continue
    a = Analysis(text, mod(f))
    reps = []      # (start line, start col, end line, end col, new text) in bytes
    renames = {}   # (scope index, name) -> new
    for o in a.occs: pass
    stack = []
    def scope_of(node):
        return next(o.scope for o in a.occs if o.kind in ("alias",) and o.extra is node)
    for node in ast.walk(a.tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.names[0].name != "*":
            groups = {}; changed = False
            for al in node.names:
                full = f"{node.module}.{al.name}"
                if full in MODS and full not in () and (full in M):
                    new = M[full]; pkg, _, base = new.rpartition(".")
                    asn = al.asname
                    if asn is None and base != al.name:
                        if any(o.name == base and o.kind in ("name", "param", "def", "class") for o in a.occs):
                            asn = al.name
                        else:
                            renames[(scope_of(node).index, al.name)] = base
                    if asn == base: asn = None
                    groups.setdefault(pkg, []).append((base, asn)); changed = True
                elif full in MODS:
                    m2 = M.get(node.module, node.module) if node.module in PK and False else node.module
                    groups.setdefault(m2, []).append((al.name, al.asname))
                else:
                    m2 = SYMBOL.get((node.module, al.name)) or M.get(node.module, node.module)
                    changed |= m2 != node.module
                    groups.setdefault(m2, []).append((al.name, al.asname))
            if changed:
                indent = " " * node.col_offset
                if node.level:
                    anchor = ".".join(mod(f).split(".")[:-node.level])
                    assert all((g + ".").startswith(anchor + ".") for g in groups), (f, groups)
                    groups = {"." * node.level + g[len(anchor)+1:]: v for g, v in groups.items()}
                reps.append((node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, render(node, groups, indent), node))
        elif isinstance(node, ast.Import):
            for al in node.names:
                if al.name in M: reps.append((al.lineno, al.col_offset, al.lineno, al.col_offset + len(al.name), M[al.name], node))
    for o in a.occs:
        if o.kind == "name":
            s = a.resolve(o.scope, o.name)
            if s is not None and (s.index, o.name) in renames:
                new = renames[(s.index, o.name)]
                reps.append((o.line, o.col, o.line, o.col + len(o.name), new, None))
    for (i, name), new in renames.items():
        s = a.scopes[i]
        users = [o for o in a.occs if o.kind in ("name","param","def","class") and o.name == new and o.kind != "alias"]
        if users: problems.append((f, name, new, [u.line for u in users][:5]))
    # dotted attribute chains `catcher.x.y`
    for node in ast.walk(a.tree):
        if isinstance(node, ast.Attribute):
            t = []
            n = node
            while isinstance(n, ast.Attribute): t.append(n.attr); n = n.value
            if isinstance(n, ast.Name):
                full = ".".join([n.id, *reversed(t)])
                if full in M: reps.append((node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, M[full], None))
    if not reps: continue
    starts = [0]
    for l in a.lines: starts.append(starts[-1] + len(l) + 1)
    data = a.data
    spans = sorted({(starts[l-1]+c, starts[el-1]+ec, new) for l, c, el, ec, new, _ in reps}, reverse=True)
    last = len(data) + 1
    for b, e, new in spans:
        assert e <= last, (f, b, e, new)
        data = data[:b] + new.encode() + data[e:]; last = b
    open(f, "wb").write(data)
for a, b in moves.items():
    os.makedirs(os.path.dirname(b), exist_ok=True)
    if os.path.exists(a): subprocess.run(["git","mv",a,b],check=True)
for p in problems: print("ALIAS", p)
