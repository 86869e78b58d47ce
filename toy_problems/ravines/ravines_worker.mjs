// The whole program of a worker: answer every request for a basin map.

import { serve } from "./landscape.mjs";

serve(self);
