/* kernelspecs.h: annotations for kernel code, all in driverspecs.h here. */
#pragma once
#include <driverspecs.h>
