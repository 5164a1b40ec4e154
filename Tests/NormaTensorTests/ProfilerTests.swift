#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import NormaTensor
import Testing

private struct Stop: Error {}

extension [Profiler.Entry] {
  fileprivate func calls(_ name: String) -> Int { first { $0.name == name }?.calls ?? 0 }
  fileprivate func seconds(_ name: String) -> Double { first { $0.name == name }?.selfSeconds ?? 0 }
  fileprivate var total: Double { reduce(0) { $0 + $1.selfSeconds } }
}

/// One at a time, since only one measurement can run. Other tests run beside these and are not to be seen.
@Suite(.serialized) struct ProfilerTests {
  let x: Tensor
  init() throws { x = try Tensor((0..<16).map(Double.init), shape: [4, 4]) }

  @Test func callsAreCounted() throws {
    let entries = try Profiler.measure {
      for _ in 0..<3 { _ = try x + x }
      _ = try x * x
      _ = try Operator("aten::matmul")(.tensor(x), .tensor(x))
    }
    #expect(entries.calls("aten::add") == 3)
    #expect(entries.calls("aten::mul") == 1)
    #expect(entries.calls("aten::matmul") == 1)
    #expect(entries.calls("aten::mm") == 1, "operators inside operators have entries too")
    #expect(entries.calls("aten::sub") == 0)
    #expect(entries.map(\.selfSeconds) == entries.map(\.selfSeconds).sorted(by: >))
    #expect(entries.allSatisfy { $0.selfSeconds > 0 })
  }

  @Test func selfTimesAddUpToNoMoreThanTheTime() throws {
    var entries: [Profiler.Entry] = []
    let elapsed = try ContinuousClock().measure {
      entries = try Profiler.measure {
        for _ in 0..<200 {
          try Profiler.section("step") { _ = try Operator("aten::matmul")(.tensor(x), .tensor(x + x)) }
        }
      }
    }
    #expect(entries.calls("step") == 200)
    #expect(entries.total > 0)
    #expect(entries.total <= elapsed / .seconds(1))
  }

  @Test func sectionsNest() throws {
    var entries: [Profiler.Entry] = []
    let elapsed = try ContinuousClock().measure {
      entries = try Profiler.measure {
        try Profiler.section("outer") {
          usleep(20_000)
          for _ in 0..<2 {
            try Profiler.section("inner") {
              usleep(30_000)
              _ = try x + x
            }
          }
        }
      }
    }
    #expect(entries.calls("outer") == 1)
    #expect(entries.calls("inner") == 2)
    #expect(entries.calls("aten::add") == 2)
    #expect(entries.seconds("outer") >= 0.02)
    #expect(entries.seconds("inner") >= 0.06)
    #expect(entries.seconds("outer") <= elapsed / .seconds(1) - 0.06)
  }

  @Test func nothingIsRecordedOutside() throws {
    try Profiler.section("outside") { _ = try x + x }
    #expect(try Profiler.measure {} == [])
    // A section that the measurement began inside of is not of it.
    let entries = try Profiler.section("outside") { try Profiler.measure { _ = try x + x } }
    #expect(entries.map(\.name) == ["aten::add"])
    try Profiler.section("outside") { _ = try x + x }
    #expect(try Profiler.measure {} == [])
  }

  @Test func failuresLeaveItSane() throws {
    let other = try Tensor([1.0, 2, 3])
    let entries = try Profiler.measure {
      #expect(throws: TensorError.self) { try Profiler.section("failing") { _ = try x + other } }
      try Profiler.section("good") { _ = try x + x }
      #expect(throws: Stop.self) { try Profiler.section("stopped") { throw Stop() } }
      _ = try x * x
    }
    #expect(entries.calls("failing") == 1 && entries.calls("good") == 1 && entries.calls("stopped") == 1)
    #expect(entries.calls("aten::add") == 2)
    #expect(entries.calls("aten::mul") == 1)

    #expect(throws: Stop.self) {
      try Profiler.measure {
        _ = try x + x
        throw Stop()
      }
    }
    #expect(try Profiler.measure { _ = try x * x }.calls("aten::mul") == 1)
  }

  @Test func aSecondMeasurementIsRefused() throws {
    let entries = try Profiler.measure {
      #expect(throws: TensorError.self) { try Profiler.measure {} }
      _ = try x + x
    }
    #expect(entries.calls("aten::add") == 1)
  }

  @Test func backwardIsCovered() throws {
    let leaf = try x.detached().requiringGradient()
    let entries = try Profiler.measure {
      let y = try CustomFunction.apply("double", inputs: [try leaf * leaf]) {
        let input = try x * x
        return (
          outputs: [try input + input], saved: [],
          backward: { pass in
            try Profiler.section("inside") { [try pass.gradients[0]! + pass.gradients[0]!] }
          }
        )
      }[0]
      try y.sum().backward()
    }
    #expect(entries.contains { $0.name.hasPrefix("SumBackward") && $0.calls == 1 })
    #expect(entries.calls("MulBackward0") == 1)
    #expect(entries.calls("double") == 1)
    #expect(entries.calls("inside") == 1)
    #expect(entries.calls("aten::mul") == 4)
    #expect(entries.calls("autograd::engine") >= 4)
    #expect(try #require(leaf.gradient).doubles == x.doubles.map { 4 * $0 })
  }
}
