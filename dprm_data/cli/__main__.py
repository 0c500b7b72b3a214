from dprm_data.cli import main

main()
