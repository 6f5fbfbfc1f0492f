"""The language server: the protocol's requests answered by the functions beside this module. Needs ``pygls``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlparse

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from gsa_dsl import __version__
from gsa_dsl.diagnostics.errors import Diagnostic, SpecError
from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend.format import FormattingError, format_source
from gsa_dsl.lsp import places
from gsa_dsl.lsp.completion import completions
from gsa_dsl.lsp.definition import definition
from gsa_dsl.lsp.document import analyse
from gsa_dsl.lsp.hover import hover

_KINDS = {
    "keyword": types.CompletionItemKind.Keyword,
    "word": types.CompletionItemKind.EnumMember,
    "parameter": types.CompletionItemKind.Variable,
    "constant": types.CompletionItemKind.Constant,
    "function": types.CompletionItemKind.Function,
    "tensor": types.CompletionItemKind.Field,
    "index": types.CompletionItemKind.Variable,
    "argument": types.CompletionItemKind.Property,
}


class _Server(LanguageServer):
    """A language server that knows how positions in a text are counted."""

    def document(self, uri: str) -> TextDocument:
        return self.workspace.get_text_document(uri)

    @property
    def encoding(self) -> str:
        return str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding))

    def range_of(self, text: str, span: Span) -> types.Range:
        (line, column), (end_line, end_column) = places.ends(text, span, self.encoding)
        return types.Range(types.Position(line, column), types.Position(end_line, end_column))

    def offset_of(self, text: str, position: types.Position) -> int:
        return places.offset(text, (position.line, position.character), self.encoding)


def make_server() -> LanguageServer:
    """A server for specs, ready to be started with ``start_io()``."""
    server = _Server("gsa", __version__)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(parameters: types.DidOpenTextDocumentParams) -> None:
        _publish(server, parameters.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(parameters: types.DidChangeTextDocumentParams) -> None:
        _publish(server, parameters.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(parameters: types.DidCloseTextDocumentParams) -> None:
        uri = parameters.text_document.uri
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=uri, diagnostics=[]))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(parameters: types.HoverParams) -> types.Hover | None:
        source = _source(server.document(parameters.text_document.uri))
        found = hover(analyse(source, _folder(source)), server.offset_of(source.text, parameters.position))
        if found is None:
            return None
        content = types.MarkupContent(types.MarkupKind.Markdown, found.markdown)
        return types.Hover(content, server.range_of(source.text, found.span))

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["(", "[", " "]))
    def completed(parameters: types.CompletionParams) -> types.CompletionList:
        source = _source(server.document(parameters.text_document.uri))
        found = completions(source, server.offset_of(source.text, parameters.position))
        items = [
            types.CompletionItem(item.label, kind=_KINDS[item.kind], detail=item.detail, insert_text=item.insert)
            for item in found
        ]
        return types.CompletionList(is_incomplete=False, items=items)

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def defined(parameters: types.DefinitionParams) -> types.Location | None:
        uri = parameters.text_document.uri
        source = _source(server.document(uri))
        span = definition(analyse(source, _folder(source)), server.offset_of(source.text, parameters.position))
        return None if span is None else types.Location(uri, server.range_of(source.text, span))

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatted(parameters: types.DocumentFormattingParams) -> list[types.TextEdit]:
        source = _source(server.document(parameters.text_document.uri))
        try:
            text = format_source(source)
        except (SpecError, FormattingError):
            return []  # its mistakes are shown as diagnostics
        whole = Span(0, len(source.text), 1, 1, 1, 1)
        return [] if text == source.text else [types.TextEdit(server.range_of(source.text, whole), text)]

    return server


def _source(document: TextDocument) -> Source:
    return Source(unquote(urlparse(document.uri).path) or document.uri, document.source)


def _folder(source: Source) -> Path | None:
    """Where the specs that ``source`` extends are; None for a text that is no file yet."""
    path = Path(source.name)
    return path.parent if path.is_absolute() else None


def _publish(server: _Server, uri: str) -> None:
    document = server.document(uri)
    source = _source(document)
    found = [_diagnostic(server, uri, source.text, each) for each in analyse(source, _folder(source)).diagnostics]
    server.text_document_publish_diagnostics(
        types.PublishDiagnosticsParams(uri=uri, version=document.version, diagnostics=found)
    )


def _diagnostic(server: _Server, uri: str, text: str, diagnostic: Diagnostic) -> types.Diagnostic:
    said = [diagnostic.message]
    said += [f"{title}: {line}" for title, line in (("reason", diagnostic.reason), ("fix", diagnostic.fix)) if line]
    return types.Diagnostic(
        range=server.range_of(text, diagnostic.span),
        message="\n".join(said),
        severity=types.DiagnosticSeverity.Error,
        code=diagnostic.code,
        source="gsa",
        related_information=[
            types.DiagnosticRelatedInformation(types.Location(uri, server.range_of(text, label.span)), label.text)
            for label in diagnostic.labels
        ],
    )
