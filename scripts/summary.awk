# One plain line out of the log of `cargo test`, and the names of the tests that failed.
{ gsub(/\033\[[0-9;]*m/, "") }
/^test .* FAILED$/ { failures[++n] = $2 }
/^test result:/ {
    for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) passed += $(i - 1)
        if ($i ~ /^failed/) failed += $(i - 1)
        if ($i ~ /^ignored/) ignored += $(i - 1)
    }
}
END {
    printf "\n%s: %d passed, %d failed, %d ignored in %d s\n", code ? "FAILED" : "ok", passed, failed, ignored, seconds
    for (i = 1; i <= n; i++) print "  failed: " failures[i]
    if (code && !failed) print "  it did not come to the end: the first `error` above says why"
}
