// The whole program of a worker: answer every request for rows.

import { serve } from "./basin.mjs";

serve(self);
