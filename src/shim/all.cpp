// The shim as one translation unit: libtorch's headers, which take nearly all of its compile time, are read once.
#include "paella.cpp"
#include "precision.cpp"
#include "recompute.cpp"
#include "graph_calls.cpp"
#include "profile.cpp"
#include "dist.cpp"
#include "reducer.cpp"
