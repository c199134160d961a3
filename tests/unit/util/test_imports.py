import subprocess
import sys


def test_a_module_that_is_not_needed_is_hidden_only_while_others_are_imported() -> None:
    """rasterio does without boto3; who asks for it afterwards has it. In a process that has imported neither."""
    code = (
        "import sys; from upscaling.util.imports import import_early as early\n"
        "early('rasterio.warp', without=('boto3', 'json'))\n"
        "assert sys.modules['rasterio.session'].boto3 is None and 'boto3' not in sys.modules\n"
        "import json, boto3; boto3.Session; json.dumps\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
