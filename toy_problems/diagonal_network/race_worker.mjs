// The whole program of a worker: run the race that was asked for last.

import { serve } from "./race.mjs";

serve(self);
