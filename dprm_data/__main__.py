"""`python -m dprm_data` is `dprm`."""

from dprm_data.cli import main

main()
