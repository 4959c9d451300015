#!/usr/bin/env python3
"""House rules that a compiler does not check. usage: lint.py ROOT arrows|sizes|words|format|cppcheck

Each check prints a line a fault, "path:line: what, found, expected", and exits 1. A tool that is not installed:
exit 77, which ctest reports as skipped. rules.py holds the tables.
"""
import os
import re
import shutil
import subprocess
import sys

import rules

SKIP = 77


def all_files(root, pattern=rules.TEXT_FILES):
    """Paths relative to root, sorted; without git, so that it works in an unpacked archive."""
    found = []
    for folder, folders, names in os.walk(root):
        relative = os.path.relpath(folder, root)
        folders[:] = [f for f in folders if not re.search(rules.SKIPPED_FOLDERS, f)]
        for name in names:
            path = name if relative == "." else f"{relative}/{name}"
            if re.search(pattern, path):
                found.append(path)
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def code_only(text):
    """The text with comments and literals blanked, line numbers kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


def room_of(path):
    fitting = [room for room in rules.ARROWS if path.startswith(room + "/")]
    return max(fitting, key=len, default=None)


def include_fault(path, target):
    """Why `path` may not include `target`, or None."""
    for header, where in rules.CARRIERS.items():
        if target == header:
            return None if re.match(where, path) else f"{target} brings mpi.h with it"
    for header, where in rules.VENDOR.items():
        if re.fullmatch(header, target):
            return None if re.match(where, path) else f"vendor header {target} belongs to {where}"
    if target.split("/")[0] not in {room.split("/")[0] for room in rules.ARROWS}:
        return None
    room = room_of(path)
    allowed = [room] + rules.ARROWS.get(room, [])
    if any(target == a or target.startswith(a + "/") for a in allowed):
        return None
    return f"{room}/ may not include {target}; it may use {', '.join(allowed)}"


def arrows(root):
    """Every #include against the arrows of the house and the vendor table."""
    faults = []
    for path in all_files(root, r"\.(c|h|cpp|cu|cuh|def)$"):
        for number, line in enumerate(read(root, path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            fault = found and include_fault(path, found.group(1))
            if fault:
                faults.append(f"{path}:{number}: {fault}")
    return faults


def functions(text):
    """(name, first line, last line) of each function body: a brace at depth 0 that follows a parenthesis."""
    code = code_only(text)
    code = re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", lambda m: re.sub(r"[^\n]", " ", m.group()), code, flags=re.M)
    depth, start, name = 0, 0, None
    for mark in re.finditer(r"[{}]", code):
        if mark.group() == "{":
            if depth == 0:
                before = code[max(0, mark.start() - 4000):mark.start()].rstrip()
                before = before[max(before.rfind(end) for end in "{};") + 1:]  # a head has none of them
                head = re.search(r"(\w+)\s*\((?:[^(){};]|\([^(){};]*\))*\)$", before)
                name = head.group(1) if head else None
                lines_back = before.count("\n", head.start()) if head else 0
                start = code.count("\n", 0, len(code[:mark.start()].rstrip())) - lines_back + 1
            depth += 1
        else:
            depth -= 1
            if depth == 0 and name:
                yield name, start, code.count("\n", 0, mark.start()) + 1


def conditionals(text):
    """Lines with #if, #ifdef, #ifndef that are no include guard."""
    lines = code_only(text).splitlines()
    count = sum(1 for line in lines if re.match(r"\s*#\s*if", line))
    guard = re.search(r"^#ifndef (\w+_H)\n#define \1$", text, flags=re.M)
    return count - (1 if guard else 0), len(lines)


def sizes(root):
    """Lengths of functions and files, and #if per 1,000 lines of the product."""
    faults, ifs, lines = [], 0, 0
    for path in all_files(root, r"\.(c|h|cpp|cu|cuh)$"):
        text = read(root, path)
        n = text.count("\n")
        if n > rules.MAX_FILE_LINES:
            faults.append(f"{path}:1: {n} lines, at most {rules.MAX_FILE_LINES}")
        for name, first, last in functions(text):
            if last - first + 1 > rules.MAX_FUNCTION_LINES:
                faults.append(f"{path}:{first}: {name} has {last - first + 1} lines, "
                              f"at most {rules.MAX_FUNCTION_LINES}")
        if not path.startswith("tests/"):
            more, of = conditionals(text)
            ifs, lines = ifs + more, lines + of
    rate = 1000.0 * ifs / max(lines, 1)
    print(f"{lines} lines without tests, {ifs} #if: {rate:.1f} per 1,000")
    if rate > rules.MAX_IFS_PER_1000_LINES:
        faults.append(f"#if: {rate:.1f} per 1,000 lines, at most {rules.MAX_IFS_PER_1000_LINES}")
    return faults


def words(root):
    """Marks of unfinished work, and calls that end the process outside the mains."""
    faults = []
    unfinished = re.compile(r"\b(" + "|".join(rules.WORDS) + r")\b")
    for path in all_files(root):
        for number, line in enumerate(read(root, path).splitlines(), 1):
            if unfinished.search(line):
                faults.append(f"{path}:{number}: unfinished work: {line.strip()[:80]}")
    for path in all_files(root, r"\.(c|h|cpp|cu|cuh)$"):
        if re.match(rules.ENDERS_ALLOWED, path):
            continue
        for number, line in enumerate(code_only(read(root, path)).splitlines(), 1):
            if re.search(rules.ENDERS, line):
                faults.append(f"{path}:{number}: ends the process; return cf_err: {line.strip()[:80]}")
    return faults


def clang_format(root):
    """Layout, by clang-format 14: other versions lay out a few constructs in other ways."""
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout if tool else "none"
    if "version 14." not in version:
        print(f"clang-format 14 is not installed (found: {version.strip()})")
        sys.exit(SKIP)
    files = all_files(root, r"\.(c|h|cpp|cu|cuh)$")
    done = subprocess.run([tool, "--dry-run", *files], capture_output=True, text=True, cwd=root)
    first = {}
    for path, number in re.findall(r"^(\S+?):(\d+):\d+: warning: code should be", done.stderr, flags=re.M):
        first.setdefault(path, number)
    return [f"{path}:{number}: layout differs; run clang-format -i {path}" for path, number in first.items()]


def cppcheck(root):
    """Faults of class error, warning and portability. Not uninitvar: without the vendors' headers cppcheck takes
    their array types for numbers; the compilers and sanitizers look for such faults with full knowledge."""
    tool = shutil.which("cppcheck")
    if not tool:
        print("cppcheck is not installed")
        sys.exit(SKIP)
    folders = [f for f in ("kernels", "proto", "coordinator", "worker", "launch") if os.path.isdir(f"{root}/{f}")]
    done = subprocess.run(
        [tool, "--quiet", "--std=c11", "--enable=warning,portability", "--inline-suppr", "-j", "2",
         "-I", root, "-D__GNUC__", "-DCF_HD=static inline", "--suppress=missingIncludeSystem", "--suppress=uninitvar",
         "--suppress=unknownMacro", "--suppress=normalCheckLevelMaxBranches",
         "--template={file}:{line}: {severity}: {message} [{id}]", *folders],
        capture_output=True, text=True, cwd=root)
    return [line for line in done.stderr.splitlines() if re.search(r": (error|warning|portability): ", line)]


CHECKS = {"arrows": arrows, "sizes": sizes, "words": words, "format": clang_format, "cppcheck": cppcheck}


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in CHECKS:
        print(__doc__, file=sys.stderr)
        return 2
    faults = CHECKS[sys.argv[2]](sys.argv[1])
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
