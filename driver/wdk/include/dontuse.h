/* dontuse.h marks deprecated C functions for an analyser; a compiler needs nothing of it. */
#pragma once
