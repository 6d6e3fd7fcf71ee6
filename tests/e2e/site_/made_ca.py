"""The embedded CA of a test's easenroll. Two of its keys are RSA keys, half a second each time: each process of the run has
`ca init` make one, and gives every test whose configuration puts its keys where all others have them a copy."""
import os
import shutil
import subprocess
import tempfile

ELSEWHERE = {"folder", "key_password_file", "pkcs11_module", "pin_file"}     # of enroll.ca: what `ca init` looks at
_made = {}      # name of the CA -> folder


def give(program, path, config, name=None):
    """`program -c path ca init [--name NAME]`, or a copy of what that made; `path` holds `config`."""
    def init():
        argv = [program, "-c", path, "ca", "init", *(["--name", name] if name else [])]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        assert done.returncode == 0, "%s: %s" % (" ".join(map(str, argv)), done.stderr.decode())

    folder = os.path.join(config["state_dir"], "ca")
    if ELSEWHERE & set(config["enroll"].get("ca", {})) or os.path.exists(folder):
        init()
    elif name in _made:
        shutil.copytree(_made[name], folder)        # with its modes; it belongs to root, as what is made does
    else:
        init()
        kept = os.path.join(tempfile.mkdtemp(prefix="ca-", dir=os.environ["EASGATE_SITE_DIR"]), "ca")
        _made[name] = shutil.copytree(folder, kept)
