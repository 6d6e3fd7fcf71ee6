"""The file directory: accounts.yaml as easproxy reads it with `kind: file`."""
import os

import yaml

USERS = "CN=EAS-Users,OU=Groups,DC=corp,DC=example"


class _Plain(yaml.SafeDumper):
    """The program takes no aliases, and equal lists are not the same one."""

    def ignore_aliases(self, data):
        return True


class AccountsFile:
    """Each change replaces the file at once; whoever reads it sees the old or the new one."""

    def __init__(self, path):
        self.path = str(path)
        self.accounts = {}
        self._next_rid = 1104
        self._write()

    def add(self, sam, **values):
        """A plain enabled account in the group of those who may sync; `values` replace its fields."""
        account = {"sam": sam, "upn": sam + "@corp.example", "sid": "S-1-5-21-1-2-3-%d" % self._next_rid,
                   "mail": sam + "@example.com", "realm": "CORP.EXAMPLE", "enabled": True, "groups": [USERS],
                   "alt_security_identities": []}
        self._next_rid += 1
        self.accounts[sam] = dict(account, **values)
        self._write()
        return self.accounts[sam]

    def change(self, sam, **values):
        self.accounts[sam].update(values)
        self._write()

    def remove(self, sam):
        del self.accounts[sam]
        self._write()

    def _write(self):
        part = self.path + ".part"
        with open(part, "w") as f:
            yaml.dump({"accounts": list(self.accounts.values())}, f, _Plain, allow_unicode=True, sort_keys=False)
        os.chmod(part, 0o644)
        os.rename(part, self.path)
