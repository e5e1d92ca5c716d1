from segearth_cli.cli import main

main()
