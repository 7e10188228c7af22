r"""A shell's script that is provably nothing but simple commands, taken apart into them.

tree-sitter says where the commands are. It is an editor's parser, which reads on where a shell
would stop, so it is not believed: each piece has to be one of a few forms that bash, dash and zsh
read alike, and nothing may be between the pieces but blanks. What is not of these forms, is opaque:

    SCRIPT   = COMMAND, and more behind `&&`, `||`, `|`, `;` or a new line
    COMMAND  = words, and redirections that touch no file: to or from /dev/null, `2>&1`, `>&2`
    WORD     = pieces: plain characters, `\c`, '...', "..." without `$` and backquote
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from execnode.policy.rules.decision import Words

__all__ = ["Opaque", "simple_commands"]

_LENGTH_MAX: Final = 1 << 16  # bytes; nobody writes more on a command line

_SEQUENCES: Final = frozenset({"program", "list", "pipeline", "redirected_statement"})
_OPERATORS: Final = frozenset({"&&", "||", "|", ";"})
_WORDS: Final = frozenset(
    {"command_name", "word", "number", "string", "raw_string", "concatenation"}
)
# Words that begin something else than a simple command, in one shell or another.
_RESERVED: Final = re.compile(
    "-|case|coproc|do|done|elif|else|end|esac|fi|for|foreach|function|if|in|nocorrect|noglob|"
    "repeat|select|then|time|until|while"
)

_REDIRECTION: Final = re.compile(r"[0-2]?>>?[ \t]*/dev/null|0?<[ \t]*/dev/null|[12]?>&[12]")
_PIECE: Final = re.compile(
    r"""
      (?P<plain> [A-Za-z0-9_./:=+,@%-]+ )
    | \\ (?P<escaped> [ -~] )
    | ' (?P<single> [^']* ) '
    | " (?P<double> (?: [^"\\$`] | \\[^\n] )* ) "
    """,
    re.VERBOSE,
)
_IN_DOUBLE: Final = re.compile(r'\\(["$\\`])')
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_NAMES: Final = {
    "$": "an expansion",
    "&": "a command in the background",
    "ERROR": "what is no correct script",
    "ansi_c_string": "an expansion",
    "arithmetic_expansion": "an expansion",
    "brace_expression": "an expansion",
    "c_style_for_statement": "a loop",
    "case_statement": "a condition",
    "command_substitution": "a substitution",
    "comment": "a comment",
    "compound_statement": "a group",
    "declaration_command": "a declaration",
    "expansion": "an expansion",
    "file_redirect": "a redirection",
    "for_statement": "a loop",
    "function_definition": "a function",
    "heredoc_redirect": "a here-document",
    "herestring_redirect": "a here-string",
    "if_statement": "a condition",
    "negated_command": "a negation",
    "process_substitution": "a substitution",
    "simple_expansion": "an expansion",
    "subshell": "a subshell",
    "test_command": "a test",
    "translated_string": "an expansion",
    "unset_command": "a declaration",
    "variable_assignment": "an assignment",
    "variable_assignments": "an assignment",
    "while_statement": "a loop",
}


class Opaque(ValueError):
    """A script is not provably made of simple commands; says what else is in it."""


def simple_commands(script: str) -> tuple[Words, ...]:
    """Return the commands of a script in their order, their words as the shell would pass them.

    There is at least one. Words are what the shell looks up, be it a program or a builtin.

    Raises Opaque.
    """
    if len(script) > _LENGTH_MAX:
        raise Opaque("the script is very long")
    if _CONTROL.search(script):
        raise Opaque("the script has control characters")
    source = script.encode()
    root = Parser(_language()).parse(source).root_node
    if root.has_error:
        raise Opaque(f"the script has {_NAMES['ERROR']}")
    commands = tuple(_read(source, root))
    if not commands:
        raise Opaque("the script is empty")
    return commands


def _read(source: bytes, root: Node) -> Iterator[Words]:
    """Take the script piece by piece, and see that nothing is left out between them."""
    end = 0
    apart = True  # an operator or a new line is behind us, so a command may begin
    for node in _pieces(root):
        between = source[end : node.start_byte]
        if between.strip(b" \t\n"):
            raise Opaque("the script has what cannot be told apart")
        if node.type in _OPERATORS or node.type == "\n":
            apart = True
        elif node.type == "file_redirect":
            _check_redirection(node, between)
        elif apart or b"\n" in between:
            yield _words(source, node)
            apart = False
        else:
            raise Opaque("the script has what cannot be told apart")
        end = node.end_byte
    if source[end:].strip(b" \t\n"):
        raise Opaque("the script has what cannot be told apart")


def _pieces(root: Node) -> Iterator[Node]:
    """Commands, operators and redirections from the first to the last."""
    pending = [root]  # no recursion: a script may be a list as long as it likes
    while pending:
        node = pending.pop()
        if node.type in _SEQUENCES:
            pending.extend(reversed(node.children))
        elif node.type in _OPERATORS or node.type in ("command", "file_redirect", "\n"):
            yield node
        else:
            raise Opaque(f"the script has {_NAMES.get(node.type, 'more than simple commands')}")


def _words(source: bytes, command: Node) -> Words:
    words: list[str] = []
    end = command.start_byte
    for child in command.children:
        between = source[end : child.start_byte]
        if child.type == "file_redirect":
            _check_redirection(child, between if end > command.start_byte else b" ")
        elif child.type not in _WORDS:
            raise Opaque(f"the script has {_NAMES.get(child.type, 'more than simple words')}")
        elif between.strip(b" \t") or (end > command.start_byte and not between):
            raise Opaque("the script has what cannot be told apart")
        else:
            words.append(_word(child, first=not words))
        end = child.end_byte
    if not words:
        raise Opaque(f"the script has {_NAMES['file_redirect']}")
    return tuple(words)


def _word(node: Node, *, first: bool) -> str:
    """Return a word without its quotes."""
    text = _text(node)
    if first and (_RESERVED.fullmatch(text) or "=" in text):
        raise Opaque(f"the script has `{text}`, which may be more than a command's name")
    if text.startswith(("=", "%")):
        raise Opaque("the script has an expansion")
    word, position = "", 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            raise Opaque(f"the script has {_unknown(node)}")
        if piece["double"] is not None:
            word += _IN_DOUBLE.sub(r"\1", piece["double"])
        else:
            word += piece["plain"] or piece["escaped"] or piece["single"] or ""
        position = piece.end()
    return word


def _check_redirection(node: Node, between: bytes) -> None:
    if between not in (b" ", b"\t") and between.strip(b" \t"):
        raise Opaque("the script has what cannot be told apart")
    if not between or not _REDIRECTION.fullmatch(_text(node)):
        raise Opaque(f"the script has {_NAMES['file_redirect']}")


def _unknown(node: Node) -> str:
    """What is in a word besides plain text."""
    pending = [node]
    while pending:
        inner = pending.pop()
        if inner.type in _NAMES:
            return _NAMES[inner.type]
        pending.extend(inner.children)
    return "a character that a shell may take for more than itself"


def _text(node: Node) -> str:
    assert node.text is not None  # the tree was made from bytes
    return node.text.decode()


@cache
def _language() -> Language:
    return Language(tree_sitter_bash.language())
