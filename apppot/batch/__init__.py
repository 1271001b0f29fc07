"""Jobs at a site: described, submitted through the site's own clients, watched, fetched.

`job` and `jobfile` say what a job is, `sites` where it may go, `record` what became of it. `arc` and `slurm` are the two kinds
of sites, with one interface (`site.Site`). `report` runs on the node. Host paths and words are str with surrogate escapes.
"""
