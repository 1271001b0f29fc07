#!/bin/sh
#SBATCH --job-name=molecules --mem=500 --time=5
exec apppot start --image mopac.squashfs --mem 500M
