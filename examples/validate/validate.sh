#!/bin/sh
# Build the model that the job brings, run it on one data set, and compare with the exact solution.
set -eu
make -s -C model >&2
read -r diffusivity cells time <"$1"
result=$(model/heat <"$1")
awk -v name="$1" -v result="$result" -v diffusivity="$diffusivity" -v time="$time" 'BEGIN {
    pi = atan2(0, -1); exact = exp(-pi * pi * diffusivity * time); error = (result - exact) / exact
    if (error < 0) error = -error
    passed = error < 0.001
    printf "%s: %s, exact %.8f: %s\n", name, result, exact, passed ? "passed" : "FAILED"
    exit !passed
}' >report.txt
