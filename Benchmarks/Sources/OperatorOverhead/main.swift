// Nanoseconds of a one-element addition from Swift, without and with gradient recording: what the way
// to libtorch and back costs. peers/operator_overhead.py measures the same from Python.
import NormaTensor

func medianNanoseconds(_ body: () throws -> Void) rethrows -> Double {
  let calls = 20_000
  var times: [Double] = []
  for _ in 0..<31 {
    let elapsed = try ContinuousClock().measure { for _ in 0..<calls { try body() } }
    times.append(elapsed / .nanoseconds(1) / Double(calls))
  }
  return times.sorted()[times.count / 2]
}

Runtime.threads = 1
let a = try Tensor([Float(1)])
let b = try Tensor([Float(2)])
let leaf = try Tensor([Float(1)]).requiringGradient()
print("libtorch \(Runtime.version)")
let plain = try withoutGradients { try medianNanoseconds { _ = try a + b } }
print("a + b without gradient recording: \(Int(plain)) ns")
let recorded = try medianNanoseconds { _ = try leaf + b }
print("a + b with gradient recording:    \(Int(recorded)) ns")
