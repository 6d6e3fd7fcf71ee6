"""An OpenAPI file held against what a server says: every answer must be described, and every description must have come true."""
import json
import re

import yaml

EVERYWHERE = {(401, "sign-in"), (403, "csrf"), (403, "not-admin"), (503, "unavailable"), (400, "json-bad"), (413, "too-large"), (415, "json-wanted"),
              (409, "no-redis")}


class Description:
    def __init__(self, path):
        with open(path) as f:
            self.root = yaml.safe_load(f)
        self.seen = set()
        self.operations = {(method, path): (re.compile(re.sub(r"\\{[a-z]+\\}", "[^/]+", re.escape(path)) + "$"), operation)
                           for path, item in self.root["paths"].items() for method, operation in item.items() if method != "parameters"}

    def follow(self, node):
        while "$ref" in node:
            where = self.root
            for name in node["$ref"][2:].split("/"):
                where = where[name]
            node = where
        return node

    def check(self, value, schema, at="$"):
        """What is not described is as wrong as what is described otherwise."""
        schema = self.follow(schema)
        if value is None:
            assert schema.get("nullable"), "%s is null" % at
            return
        kind = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}[schema["type"]]
        assert isinstance(value, kind) and (kind is not int or not isinstance(value, bool)), "%s is no %s: %r" % (at, schema["type"], value)
        if "enum" in schema:
            assert value in schema["enum"], "%s: %r is none of %s" % (at, value, schema["enum"])
        if "pattern" in schema:
            assert re.search(schema["pattern"], value), "%s: %r does not match %s" % (at, value, schema["pattern"])
        if schema.get("format") == "date-time":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value), "%s: %r" % (at, value)
        if kind is dict and "properties" in schema:
            assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"]), "%s has %s, described %s" % (at, sorted(value), sorted(schema["properties"]))
            for name, inside in value.items():
                self.check(inside, schema["properties"][name], at + "." + name)
        if kind is list:
            for i, inside in enumerate(value):
                self.check(inside, schema["items"], "%s[%d]" % (at, i))

    def heard(self, method, path, body, answer):
        """One request and its answer."""
        path = path.partition("?")[0]
        found = [key for key, (pattern, _) in self.operations.items() if key[0] == method.lower() and pattern.match(path)]
        found = [key for key in found if key[1] == path] or found
        assert len(found) == 1, "%s %s is described %d times" % (method, path, len(found))
        operation = self.operations[found[0]][1]
        status = str(answer.status)
        said = json.loads(answer.body) if answer.body else None
        at = "%s %s %s" % (method, path, status)
        if status not in operation["responses"]:
            assert (answer.status, said["error"]) in EVERYWHERE, "%s is not described: %s" % (at, said)
        else:
            content = self.follow(operation["responses"][status]).get("content")
            if content is None:
                assert answer.body == b"", at
            else:
                assert answer.get("Content-Type") == "application/json", at
                self.check(said, content["application/json"]["schema"], at)
            self.seen.add((*found[0], status))
        if answer.status < 300 and body not in (None, b""):
            self.check(json.loads(body), self.follow(operation["requestBody"])["content"]["application/json"]["schema"], at + " body")

    def unheard(self):
        described = {(method, path, status) for (method, path), (_, operation) in self.operations.items() for status in operation["responses"]}
        return described - self.seen
