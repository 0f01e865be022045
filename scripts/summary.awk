# The end of a test run, out of the logs of `cargo test` and pytest: what failed, what each part took, one line of sums.
{ gsub(/\033\[[0-9;]*m/, "") }

function fault(name) { names = names "  failed: " name "\n" }
function note(text) { notes = notes "  " text "\n" }

# cargo
/^test .* FAILED$/ { fault($2) }
/^test result:/ {
    for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) passed += $(i - 1)
        if ($i ~ /^failed/) failed += $(i - 1)
        if ($i ~ /^ignored/) skipped += $(i - 1)
    }
}

# pytest
/^(FAILED|ERROR) tests\// { fault($2) }
/^SKIPPED \[[0-9]+\] / { note("skipped: " substr($0, index($0, "]") + 2)) }
/^=* ?[0-9]+ [a-z].* in [0-9.]+s( \([0-9:]+\))?( =*)?$/ {
    for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) passed += $(i - 1)
        if ($i ~ /^(failed|errors?)/) failed += $(i - 1)
        if ($i ~ /^(skipped|xfailed)/) skipped += $(i - 1)
    }
}

# scripts/test.sh
/^not run: / { note($0) }
/^part: / { note(substr($0, 7)) }

END {
    printf "\n%s%s", notes, names
    if (code && !failed) print "  it did not come to the end: the first `error` above says why"
    printf "%s: %d passed, %d failed, %d skipped in %d s\n", code ? "FAILED" : "ok", passed, failed, skipped, seconds
}
