#!/usr/bin/env python
"""Generate typed clients from the API's schema, and compile the programs that use them.

    python examples/clients/build.py var/clients

The folder gets the schema, a client for Python and one for TypeScript. It takes what requirements-dev.txt installs, and
node with npm, which fetches what package-lock.json pins.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE, ROOT = Path(__file__).resolve().parent, Path(__file__).resolve().parents[2]


def build(folder: Path) -> None:
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    schema, typescript = folder / "schema.json", folder / "typescript"
    beside = Path(sys.executable).parent  # openapi-python-client formats with ruff, which it looks for in PATH
    environment = os.environ | {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}"}

    def run(*command: str, cwd: Path = ROOT) -> None:
        subprocess.run(command, cwd=cwd, env=environment, check=True)

    run(sys.executable, "manage.py", "spectacular", "--format", "openapi-json", "--file", str(schema))
    client = ("--output-path", str(folder / "python" / "headrace_client"), "--meta", "none", "--overwrite")
    run(str(beside / "openapi-python-client"), "generate", "--path", str(schema), *client)
    run("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", cwd=typescript)
    run("npx", "openapi-typescript", str(schema), "-o", "schema.d.ts", cwd=typescript)
    run("npx", "tsc", "--project", ".", cwd=typescript)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=lambda value: Path(value).resolve())
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
