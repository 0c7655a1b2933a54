/* suppress.h names warnings of an analyser; a compiler needs nothing of it. */
#pragma once
