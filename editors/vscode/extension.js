// Starts `gsa lsp` when the first spec is opened, and stops it with the window.
const { workspace, window } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function activate() {
  const [command, ...args] = workspace.getConfiguration("gsa").get("command");
  const documents = { documentSelector: [{ language: "gsa" }] };
  client = new LanguageClient("gsa", "gsa_dsl", { command, args }, documents);
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(`gsa_dsl: '${command} ${args.join(" ")}' does not start: ${error.message}`);
  }
}

async function deactivate() {
  await client?.stop();
}

module.exports = { activate, deactivate };
