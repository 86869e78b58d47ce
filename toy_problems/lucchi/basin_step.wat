;; One step of a method for the starts of a basin map, two at a time: the rules of rules.mjs with the gradient of
;; landscape.mjs, operation by operation, so to the bit. In memory stand the x of 32 starts, and behind them their y.
;; `python -m upkeep.basin_step` assembles it.

(module
  (memory (export "memory") 1)

  ;; What (x, y) of the plain norm n is divided by before its norm is taken: its largest entry where the squares are
  ;; not `sound` (see plane.mjs), 1 where they are and where the vector is 0.
  (func $level (param $x v128) (param $y v128) (param $n v128) (result v128)
    (local $largest v128)
    (local.set $largest (f64x2.max (f64x2.abs (local.get $x)) (f64x2.abs (local.get $y))))
    (v128.bitselect
      (local.get $largest)
      (v128.const f64x2 1 1)
      (v128.andnot
        (f64x2.gt (local.get $largest) (v128.const f64x2 0 0))
        (v128.and
          (f64x2.gt (local.get $n) (v128.const f64x2 1e-140 1e-140))
          (f64x2.lt (local.get $n) (v128.const f64x2 1e150 1e150))))))

  ;; `method` is 0 for GD, 1 for SAM, 2 for StableSAM.
  (func (export "step") (param $method i32) (param $lr f64) (param $rho f64)
    (local $at i32) (local $rate v128) (local $radius v128)
    (local $x v128) (local $y v128)   ;; two starts
    (local $gx v128) (local $gy v128) ;; the direction, gradient first
    (local $u v128) (local $v v128)   ;; where SAM looks
    (local $n v128) (local $level v128) (local $length v128) (local $k v128)
    (local.set $rate (f64x2.splat (local.get $lr)))
    (local.set $radius (f64x2.splat (local.get $rho)))
    (loop $pairs
      (local.set $x (v128.load (local.get $at)))
      (local.set $y (v128.load offset=256 (local.get $at)))
      (local.set $gx (f64x2.sub (f64x2.mul (f64x2.mul (local.get $x) (local.get $x)) (local.get $x)) (local.get $y)))
      (local.set $gy (f64x2.sub (local.get $y) (local.get $x)))
      (if (local.get $method)
        (then
          ;; The gradient's length, and the gradient of length rho.
          (local.set $n (f64x2.sqrt (f64x2.add
            (f64x2.mul (local.get $gx) (local.get $gx)) (f64x2.mul (local.get $gy) (local.get $gy)))))
          (local.set $length (local.get $n))
          (if (i32.eqz (i64x2.all_true (v128.and
              (f64x2.gt (local.get $n) (v128.const f64x2 1e-140 1e-140))
              (f64x2.lt (local.get $n) (v128.const f64x2 1e150 1e150)))))
            (then
              (local.set $level (call $level (local.get $gx) (local.get $gy) (local.get $n)))
              (local.set $gx (f64x2.div (local.get $gx) (local.get $level)))
              (local.set $gy (f64x2.div (local.get $gy) (local.get $level)))
              (local.set $n (f64x2.sqrt (f64x2.add
                (f64x2.mul (local.get $gx) (local.get $gx)) (f64x2.mul (local.get $gy) (local.get $gy)))))
              (local.set $length (f64x2.mul (local.get $level) (local.get $n)))))
          (local.set $k (v128.and
            (f64x2.gt (local.get $n) (v128.const f64x2 0 0)) (f64x2.div (local.get $radius) (local.get $n))))
          ;; The gradient there.
          (local.set $u (f64x2.add (local.get $x) (f64x2.mul (local.get $k) (local.get $gx))))
          (local.set $v (f64x2.add (local.get $y) (f64x2.mul (local.get $k) (local.get $gy))))
          (local.set $gx (f64x2.sub (f64x2.mul (f64x2.mul (local.get $u) (local.get $u)) (local.get $u)) (local.get $v)))
          (local.set $gy (f64x2.sub (local.get $v) (local.get $u)))
          (if (i32.eq (local.get $method) (i32.const 2))
            (then
              ;; It, with the length of the gradient here.
              (local.set $n (f64x2.sqrt (f64x2.add
                (f64x2.mul (local.get $gx) (local.get $gx)) (f64x2.mul (local.get $gy) (local.get $gy)))))
              (if (i32.eqz (i64x2.all_true (v128.and
                  (f64x2.gt (local.get $n) (v128.const f64x2 1e-140 1e-140))
                  (f64x2.lt (local.get $n) (v128.const f64x2 1e150 1e150)))))
                (then
                  (local.set $level (call $level (local.get $gx) (local.get $gy) (local.get $n)))
                  (local.set $gx (f64x2.div (local.get $gx) (local.get $level)))
                  (local.set $gy (f64x2.div (local.get $gy) (local.get $level)))
                  (local.set $n (f64x2.sqrt (f64x2.add
                    (f64x2.mul (local.get $gx) (local.get $gx)) (f64x2.mul (local.get $gy) (local.get $gy)))))))
              (local.set $k (v128.and
                (f64x2.gt (local.get $n) (v128.const f64x2 0 0)) (f64x2.div (local.get $length) (local.get $n))))
              (local.set $gx (f64x2.mul (local.get $k) (local.get $gx)))
              (local.set $gy (f64x2.mul (local.get $k) (local.get $gy)))))))
      (v128.store (local.get $at) (f64x2.sub (local.get $x) (f64x2.mul (local.get $rate) (local.get $gx))))
      (v128.store offset=256 (local.get $at) (f64x2.sub (local.get $y) (f64x2.mul (local.get $rate) (local.get $gy))))
      (br_if $pairs (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const 256))))))
