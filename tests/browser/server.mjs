// Starts the binary under test with the example applications, on free ports and in a directory of its own.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SEND_TOKEN } from "./push.mjs";
import { promisify } from "node:util";

const APPS = fileURLToPath(new URL("../../apps", import.meta.url));
const START_LIMIT = 30_000;
const run = promisify(execFile);

function freePort() {
  return new Promise((done, fail) => {
    const probe = createServer().on("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

// The same application three times: at the root, below a path, and with the right to run programs.
function configuration(web, secure, admin) {
  const path = JSON.stringify(join(APPS, "examples"));
  return `Config(
    dev: true,
    access_log: (file: "access.log", format: Json),
    workers: (start: 2, min: 2, max: 2, min_spare: 0, max_spare: 2),
    admin: (listen: ["127.0.0.1:${admin}"]),
    apps: {
        "examples": Script(path: ${path}),
        "mounted": Script(path: ${path}),
        "permitted": Script(path: ${path}, limits: (processes: true)),
        "hello": Script(path: ${JSON.stringify(join(APPS, "hello"))}),
        "push": Script(path: ${JSON.stringify(join(APPS, "push"))}, config: {"demo": true, "send_token": "${SEND_TOKEN}", "keep": {"count": 2000, "ttl": "1h"}}),
        "chat": Script(path: ${JSON.stringify(join(APPS, "chat"))}, config: {"su": "open sesame"}),
    },
    servers: {
        "web": Http(listen: ["127.0.0.1:${web}"], routes: [
            (path: "/", app: "examples"),
            (path: "/below/here", app: "mounted"),
            (path: "/permitted", app: "permitted"),
            (path: "/new", app: "hello"),
            (path: "/push", app: "push"),
            (path: "/chat", app: "chat"),
        ]),
        "secure": Http(listen: ["127.0.0.1:${secure}"], tls: (certificate: "cert.pem", key: "key.pem"), routes: [(path: "/push", app: "push")]),
    },
)
`;
}

async function answers(origin, ended) {
  const deadline = Date.now() + START_LIMIT;
  while (!ended() && Date.now() < deadline) {
    const reply = await fetch(origin).catch(() => undefined);
    if (reply?.ok) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(ended() ? "the server ended before it answered" : "the server does not answer");
}

/** Gives `origin`, `secure` (the push over HTTPS), `log()`, `requests()` of the access log, `reload()` and `stop()`. Rejects with the server's own words when it does not come up. */
export async function start(binary) {
  const directory = await mkdtemp(join(tmpdir(), "skep-browser-"));
  const [web, secure, admin] = [await freePort(), await freePort(), await freePort()];
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"];
  await run("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", ...names], { cwd: directory });
  const file = join(directory, "config.ron");
  await writeFile(file, configuration(web, secure, admin));
  const child = spawn(binary, ["run", "--config", file], { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stdout.on("data", (text) => (log += text));
  child.stderr.on("data", (text) => (log += text));
  const exit = new Promise((done) => child.on("close", done).on("error", (error) => done((log += error.message))));
  let over = false;
  exit.then(() => (over = true));
  const stop = async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGINT"), 10_000);
    await exit;
    clearTimeout(late);
    await rm(directory, { recursive: true, force: true });
  };
  const reload = () => run(binary, ["reload", "--config", file]);
  const origin = `http://127.0.0.1:${web}`;
  try {
    await answers(origin, () => over);
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${log}`);
  }
  const requests = async () => (await readFile(join(directory, "access.log"), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
  return { origin, secure: `https://127.0.0.1:${secure}`, stop, reload, requests, log: () => log };
}
