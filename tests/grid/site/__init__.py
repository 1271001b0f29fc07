"""A real ARC site (A-REX with its REST interface) and a real Slurm cluster on this computer's loopback interface.

    python3 -m tests.grid.site --directory DIR --account NAME keep       what ./run-tests does
    python3 -m tests.grid.site --directory DIR --account NAME start fork|slurm
    python3 -m tests.grid.site --directory DIR --account NAME stop

Root only: the daemons are root's, as at a site. Everything they read and write is below DIR; nothing is left in /etc or
/var. NAME is the ordinary user who submits the jobs and as whom they run. The modules: `daemons` (processes), `slurm`,
`certificates`, `arex`, `keeper` (tests, which are not root, ask for starts and stops through a socket).

What is Debian's is used as it is shipped, but for two start scripts: A-REX is bound to the loopback interface, and looks for
news every two seconds instead of every minute.
"""
