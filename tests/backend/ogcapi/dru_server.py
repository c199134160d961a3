"""A small OGC API - Processes server with deploy, replace and undeploy (20-044), in the words of the 2.0 draft.

It really runs the CWL that is deployed, with cwltool, keeps its jobs on disk, and repeats in a job's status what the
job was sent. Usage: python dru_server.py PORT FOLDER SCENE SLOTS [echo|mute]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

PORT, FOLDER, SCENE, SLOTS = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
ECHO = sys.argv[5] == "echo"
BASE = f"http://127.0.0.1:{PORT}/user/ogc-api"
LOCK, PLACES = threading.Lock(), threading.Semaphore(SLOTS)
CWL = {"application/cwl+json", "application/cwl+yaml", "application/cwl"}


def workflows(package):
    return [p for p in package.get("$graph", [package]) if p["class"] == "Workflow"]


def schema(kind):
    if isinstance(kind, list):
        kinds = [schema(k) for k in kind if k != "null"]
        return {"anyOf": kinds} if len(kinds) > 1 else kinds[0]
    if isinstance(kind, dict):
        return {"type": "array", "items": schema(kind["items"])} if kind["type"] == "array" else {"type": "object"}
    names = {"int": "integer", "long": "integer", "double": "number", "float": "number", "boolean": "boolean"}
    return {"type": names.get(kind, "string"), **({"format": "uri"} if kind in {"File", "Directory"} else {})}


def description(package, workflow):
    inputs = {}
    for entry in workflow["inputs"]:
        kind = entry["type"]
        optional = "default" in entry or (isinstance(kind, list) and "null" in kind)
        name = entry["id"].rpartition("/")[2]
        inputs[name] = {"title": entry.get("label", ""), "minOccurs": int(not optional), "schema": schema(kind)}
    return {
        "id": workflow["id"].lstrip("#"),
        "version": str(package.get("s:softwareVersion") or package.get("https://schema.org/softwareVersion")),
        "mutable": True,
        "jobControlOptions": ["async-execute"],
        "inputs": inputs,
        "outputs": {"result": {"schema": {"$ref": "https://schemas.example.org/stac/collection.json"}}},
    }


def job_order(inputs):
    def one(value):
        if isinstance(value, dict) and "href" in value:
            return {"class": "File", "location": value["href"]}
        return value["value"] if isinstance(value, dict) and "value" in value else value

    return {name: one(value) for name, value in inputs.items()}


def save(job):
    path = FOLDER / "jobs" / f"{job['id']}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(job))
    part.replace(path)


def load(identifier):
    path = FOLDER / "jobs" / f"{identifier}.json"
    return json.loads(path.read_text()) if re.fullmatch(r"[0-9a-f-]+", identifier) and path.is_file() else None


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def run(job):
    with PLACES:
        if load(job["id"])["status"] == "dismissed":
            return
        save({**job, "status": "running", "started": now()})
        out = FOLDER / "out" / job["id"]
        out.mkdir(parents=True)
        (out / "order.json").write_text(json.dumps(job_order(job["request"]["inputs"])))
        name = job["processID"]
        command = ["cwltool", "--no-container", "--quiet", "--outdir", str(out / "files")]
        command += [f"{FOLDER / 'packages' / name}.json#{name}", str(out / "order.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (out / "log.txt").write_text(done.stderr)
        status = "successful" if done.returncode == 0 else "failed"
        message = "" if done.returncode == 0 else " ".join(done.stderr.split())[-300:]
        save({**job, "status": status, "started": now(), "finished": now(), "message": message})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, content=None, kind="application/json", **headers):
        body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, name, detail):
        self.say(status, {"type": f"http://www.opengis.net/def/exceptions/{name}", "title": name, "detail": detail})

    def parts(self):
        path = urlsplit(self.path).path
        if not path.startswith("/user/ogc-api"):
            return None
        return [unquote(part) for part in path.removeprefix("/user/ogc-api").strip("/").split("/")]

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def package(self):
        kind, text = self.headers["Content-Type"], self.body()
        if kind == "application/ogcapppkg+json":
            return json.loads(text)["executionUnit"]["value"]
        if kind not in CWL - {"application/cwl+json"}:  # as ZOO: YAML only
            return None
        return yaml.safe_load(text)

    def deploy(self, replace=None):
        package = self.package()
        if package is None:
            return self.refuse(415, "unsupported-media-type", self.headers["Content-Type"])
        wanted = parse_qs(urlsplit(self.path).query).get("w", [workflows(package)[0]["id"].lstrip("#")])[0]
        found = [w for w in workflows(package) if w["id"].lstrip("#") == wanted]
        if not found:
            return self.refuse(400, "workflow-not-found", wanted)
        path = FOLDER / "packages" / f"{wanted}.json"
        if replace is None and path.exists():
            return self.refuse(409, "duplicated-process", f"a process {wanted} exists")
        path.write_text(json.dumps(package))
        if replace is not None:
            return self.say(204)
        return self.say(201, {"id": wanted, "version": "1"}, Location=f"{BASE}/processes/{wanted}")

    def do_POST(self):
        parts = self.parts()
        if parts == ["processes"]:
            return self.deploy()
        if parts and parts[0] == "processes" and parts[2:] == ["execution"]:
            if not (FOLDER / "packages" / f"{parts[1]}.json").exists():
                return self.refuse(404, "no-such-process", parts[1])
            assert self.headers["Prefer"] == "respond-async"
            request = json.loads(self.body())
            job = {"id": str(uuid.uuid4()), "processID": parts[1], "status": "accepted", "created": now()}
            job |= {"processingEntityType": "process", "request": request}
            save(job)
            with LOCK, (FOLDER / "executions.ndjson").open("a") as stream:
                stream.write(json.dumps(request["inputs"], sort_keys=True) + "\n")
            threading.Thread(target=run, args=(job,), daemon=True).start()
            # The inner address, as behind a proxy that nobody told about it.
            return self.say(201, self.shown(job), Location=f"http://inner:8080/ogc-api/jobs/{job['id']}")
        return self.refuse(404, "not-found", self.path)

    def do_PUT(self):
        parts = self.parts()
        return self.deploy(replace=parts[1])

    def do_DELETE(self):
        kind, identifier = self.parts()[:2]
        if kind == "processes":
            (FOLDER / "packages" / f"{identifier}.json").unlink()
            return self.say(204)
        job = load(identifier)
        save({**job, "status": "dismissed"})
        return self.say(200, self.shown({**job, "status": "dismissed"}))

    def shown(self, job):
        return job if ECHO else {key: value for key, value in job.items() if key != "request"}

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/scene.tif":
            return self.say(200, SCENE.read_bytes(), "image/tiff")
        if path.startswith("/files/"):
            file = (FOLDER / "out" / path.removeprefix("/files/")).resolve()
            if not file.is_relative_to((FOLDER / "out").resolve()) or not file.is_file():
                return self.refuse(404, "no-such-file", path)
            return self.say(200, file.read_bytes(), "application/json" if file.suffix == ".json" else "image/tiff")
        parts = self.parts()
        if parts == ["processes"]:
            names = sorted(p.stem for p in (FOLDER / "packages").glob("*.json"))
            return self.say(200, {"processes": [{"id": name, "version": "1"} for name in names], "links": []})
        if parts and parts[0] == "processes":
            file = FOLDER / "packages" / f"{parts[1]}.json"
            if not file.is_file():
                return self.refuse(404, "no-such-process", parts[1])
            package = json.loads(file.read_text())
            chosen = next(w for w in workflows(package) if w["id"].lstrip("#") == parts[1])
            return self.say(200, description(package, chosen))
        if parts == ["jobs"]:
            jobs = [json.loads(p.read_text()) for p in (FOLDER / "jobs").glob("*.json")]
            return self.say(200, {"jobs": [self.shown(job) for job in jobs], "links": []})
        if parts and parts[0] == "jobs":
            return self.job(parts[1], parts[2:])
        return self.refuse(404, "not-found", self.path)

    def job(self, identifier, rest):
        job = load(identifier)
        if job is None:
            return self.refuse(404, "no-such-job", identifier)
        if not rest:
            return self.say(200, self.shown(job))
        if rest != ["results"]:
            return self.refuse(404, "not-found", self.path)
        if job["status"] == "failed":
            return self.refuse(500, "process-failed", job["message"])
        if job["status"] != "successful":
            return self.refuse(404, "result-not-ready", job["status"])
        catalogs = sorted((FOLDER / "out" / identifier / "files").rglob("catalog.json"))
        href = f"http://127.0.0.1:{PORT}/files/{catalogs[0].relative_to(FOLDER / 'out')}"
        return self.say(200, {"value": href, "type": "string_format.yaml#URI"})


if __name__ == "__main__":
    for name in ("jobs", "packages", "out"):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
    for path in (FOLDER / "jobs").glob("*.json"):  # those that a kill broke off begin anew
        kept = json.loads(path.read_text())
        if kept["status"] in {"accepted", "running"}:
            threading.Thread(target=run, args=(kept,), daemon=True).start()
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
