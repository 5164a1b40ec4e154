"""Writes manual pages from the command definitions: norma --experimental-dump-help | python3 manual.py FOLDER

One page for the tool and one for every command, named as `man norma compare` looks for them. Options stand in
their groups and with their defaults, as in --help.
"""

import datetime
import json
import os
import pathlib
import re
import sys

# What the definitions do not say.
EXIT_STATUS = [
    ("0", "Done."),
    ("1", "It could not be done, as reported."),
    ("64", "The command line or the configuration file is wrong."),
    ("130, 143, 129", "Ended by Ctrl-C, SIGTERM or SIGHUP; ready for --resume where the command has it."),
]

ENVIRONMENT = [
    ("NORMA_INSTRUCTION_SET", "Instruction set of the normalization kernels; 'norma info' lists those that this processor can run."),
    ("OMP_NUM_THREADS", "Threads of one operator where --threads is not given."),
]


def escaped(text):
    """Roff text: no line begins a request, dashes of options stay dashes, and signs beyond ASCII survive any locale."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    text = re.sub(r"[^\x00-\x7f]", lambda sign: "\\[u%04X]" % ord(sign.group()), text)
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def paragraphs(text):
    """Blank lines part paragraphs; indented lines stand as they are."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        yield ".PP"
        for line in block.split("\n"):
            if line[:1] == " ":
                yield ".br"
            yield escaped(line.strip())


def names(argument):
    """-h, --help as they are typed; a positional argument has none."""
    return ["-" * (1 + (name["kind"] == "long")) + name["name"] for name in argument.get("names", [])]


def value(argument):
    return "\\fI%s\\fR" % escaped(argument["valueName"])


def synopsis(argument):
    text = value(argument) + ("..." if argument["isRepeating"] else "")
    if argument["kind"] != "positional":
        name = "\\fB%s\\fR" % escaped(names(argument)[-1])
        text = name if argument["kind"] == "flag" else name + " " + text
    return "[%s]" % text if argument["isOptional"] else text


def entry(argument):
    title = ", ".join("\\fB%s\\fR" % escaped(name) for name in names(argument))
    if argument["kind"] == "positional":
        title = value(argument)
    elif argument["kind"] == "option":
        title += " " + value(argument)
    text = " ".join(argument.get(key, "") for key in ("abstract", "discussion")).strip()
    # Texts that tell a default themselves have their reasons.
    if "defaultValue" in argument and "default" not in text.lower():
        text += " (default: %s)" % argument["defaultValue"]
    return [".TP", title, escaped(text)]


def page(command, path, version, date):
    title = "-".join(path)
    lines = ['.TH "%s" 1 "%s" "norma %s" ""' % (escaped(title.upper()), date, escaped(version))]
    lines += [".SH NAME", "%s \\- %s" % (escaped(title), escaped(command["abstract"].rstrip(".")))]
    shown = [argument for argument in command.get("arguments", []) if argument["shouldDisplay"]]
    commands = [one for one in command.get("subcommands", []) if one["shouldDisplay"] and one["commandName"] != "help"]
    lines += [".SH SYNOPSIS", ".nh", "\\fB%s\\fR" % escaped(" ".join(path))]
    lines += ["\\fIcommand\\fR ..."] if commands else [synopsis(argument) for argument in shown]
    if "discussion" in command:
        lines += [".SH DESCRIPTION", *paragraphs(command["discussion"])]
    if commands:
        lines.append(".SH COMMANDS")
        for one in commands:
            lines += [".TP", "\\fB%s\\fR(1)" % escaped("-".join([*path, one["commandName"]])), escaped(one["abstract"])]
    sections = {}
    for argument in shown:
        sections.setdefault(argument.get("sectionTitle") or "Options", []).append(argument)
    for section, arguments in sections.items():
        lines.append(".SH " + escaped(section.upper()))
        for argument in arguments:
            lines += entry(argument)
    if len(path) == 1:
        lines.append(".SH ENVIRONMENT")
        for name, text in ENVIRONMENT:
            lines += [".TP", name, escaped(text)]
    lines.append(".SH EXIT STATUS")
    for status, meaning in EXIT_STATUS:
        lines += [".TP", status, escaped(meaning)]
    if len(path) > 1:
        lines += [".SH SEE ALSO", "\\fB%s\\fR(1)" % escaped("-".join(path[:-1]))]
    yield title, "\n".join(lines) + "\n"
    for one in commands:
        yield from page(one, [*path, one["commandName"]], version, date)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    # The same input makes the same pages where the day is given.
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    day = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc) if seconds else datetime.datetime.now()
    command = json.load(sys.stdin)["command"]
    for title, text in page(command, [command["commandName"]], os.environ.get("NORMA_VERSION", ""), day.strftime("%Y-%m-%d")):
        (folder / (title + ".1")).write_text(text, encoding="ascii")


main()
