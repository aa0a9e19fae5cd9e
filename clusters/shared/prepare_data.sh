#!/usr/bin/env bash
# Prepares the images of specs once, into SWEEP_DATA_DIR, where every node maps them: prepare_data.sh SPEC ...
# A spec is a shipped one's name ('sweep specs') or a YAML file. What is prepared already stays.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

python - "$@" <<'PYTHON'
import sys

from sweeper.cli.rooms import installed_rooms
from sweeper.errors import SweepError
from sweeper.spec_file import read_spec
from sweeper.validation import validate
from trainables.data import ImageSource, open_images
from trainables.errors import InpaintingError

try:
    rooms = installed_rooms()
    for name in sys.argv[1:]:
        source = ImageSource(**validate(read_spec(name, []), rooms).data.model_dump())
        print(f"{name}: {len(open_images(source).train)} training images of {source.name} are ready in {source.folder}")
except (SweepError, InpaintingError) as error:
    sys.exit(str(error))
PYTHON
