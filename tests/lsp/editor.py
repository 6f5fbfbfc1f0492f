"""An editor for tests: starts ``gsa lsp`` as a process and speaks JSON-RPC with it over its pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from threading import Timer
from types import TracebackType
from typing import Any

Json = dict[str, Any]


class Editor:
    """``with Editor() as editor: editor.ask("textDocument/hover", ...)``; leaving says goodbye to the server."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gsa_dsl", "lsp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        # A server that does not answer is a failure, not a test that never ends.
        self._patience = Timer(120, self._process.kill)
        self._patience.start()
        self._number = 0
        self.told: list[Json] = []
        self.capabilities: Json = {}

    def __enter__(self) -> Editor:
        parameters = {"processId": None, "rootUri": None, "capabilities": {}}
        self.capabilities = self.ask("initialize", parameters)["capabilities"]
        self.tell("initialized", {})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.ask("shutdown", None)
            self.tell("exit", None)
        else:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._patience.cancel()
        self.status = self._process.wait(20)
        assert self._process.stderr is not None
        self.errors = self._process.stderr.read().decode()
        self._process.stderr.close()

    def ask(self, method: str, parameters: object) -> Any:
        """Send a request and return its result; what the server tells meanwhile is kept in ``told``."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.told.append(message)

    def tell(self, method: str, parameters: object) -> None:
        """Send a notification."""
        self._send({"method": method, "params": parameters})

    def diagnostics(self, uri: str) -> list[Json]:
        """The next diagnostics that the server publishes for ``uri``."""
        while True:
            message = self.told.pop(0) if self.told else self._receive()
            if message["method"] == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                found: list[Json] = message["params"]["diagnostics"]
                return found

    def open(self, uri: str, text: str) -> list[Json]:
        """Open a document and return its diagnostics."""
        item = {"uri": uri, "languageId": "gsa", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})
        return self.diagnostics(uri)

    def _send(self, message: Json) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> Json:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, value = line.split(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the server has stopped"
        message: Json = json.loads(self._process.stdout.read(length))
        return message
