# The same as fit.c, for images without a compiler: fits ambient + excess * exp(-rate * t) by least squares.
!/^#/ && NF == 2 { n++; t[n] = $1; d[n] = $2 }
END {
    if (n <= 3) { print "fit.awk: the table needs more than 3 lines" > "/dev/stderr"; exit 1 }
    p[1] = d[n]; p[2] = d[1] - d[n]; p[3] = 3 / (t[n] - t[1])
    for (round = 0; round < 50; round++) {
        sum = 0
        for (j = 1; j <= 3; j++) { right[j] = 0; for (k = 1; k <= 3; k++) a[j, k] = 0 }
        for (i = 1; i <= n; i++) {
            decay = exp(-p[3] * t[i])
            slope[1] = 1; slope[2] = decay; slope[3] = -p[2] * t[i] * decay
            residual = d[i] - p[1] - p[2] * decay
            sum += residual * residual
            for (j = 1; j <= 3; j++) {
                right[j] += slope[j] * residual
                for (k = 1; k <= 3; k++) a[j, k] += slope[j] * slope[k]
            }
        }
        for (c = 1; c <= 3; c++)
            for (r = 1; r <= 3; r++) {
                if (r == c) continue
                factor = a[r, c] / a[c, c]
                for (k = 1; k <= 3; k++) a[r, k] -= factor * a[c, k]
                right[r] -= factor * right[c]
            }
        for (r = 1; r <= 3; r++) p[r] += right[r] / a[r, r]
    }
    printf "points %d\nambient %.3f\nexcess %.3f\nrate %.5f\nrms %.3f\n", n, p[1], p[2], p[3], sqrt(sum / n)
}
