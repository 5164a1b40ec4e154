import NormaTensor
import Synchronization
import TestSupport
import Testing

/// Counts the objects of one test that are alive.
private final class Census: Sendable {
  let alive = Atomic<Int>(0)
  var count: Int { alive.load(ordering: .sequentiallyConsistent) }

  final class Member: Sendable {
    let census: Census
    init(_ census: Census) {
      self.census = census
      census.alive.add(1, ordering: .sequentiallyConsistent)
    }
    deinit { census.alive.subtract(1, ordering: .sequentiallyConsistent) }
  }
}

private struct Stop: Error, Equatable { let code: Int }

@Suite struct CustomFunctionTests {
  /// x³ w, with both gradients by hand.
  private func cubeTimes(_ x: Tensor, _ w: Tensor) throws -> Tensor {
    try CustomFunction.apply("cubeTimes", inputs: [x, w]) {
      (
        outputs: [try x.power(3) * w], saved: [x, w],
        backward: { pass in
          let (g, x, w) = (pass.gradients[0]!, pass.saved[0], pass.saved[1])
          return [try g * x.squared() * w * 3, try g * x.power(3)]
        }
      )
    }[0]
  }

  @Test func gradientAgreesWithFiniteDifferences() throws {
    var random = TestRandom(1)
    let (x, w, c) = (random.numbers(5), random.numbers(5), random.numbers(5))
    let (a, b) = (try Tensor(x).requiringGradient(), try Tensor(w).requiringGradient())
    try cubeTimes(a, b).backward(Tensor(c))
    func value(_ x: [Double], _ w: [Double]) -> Double {
      (0..<5).reduce(0) { $0 + c[$1] * x[$1] * x[$1] * x[$1] * w[$1] }
    }
    let dx = numericalGradient(at: x) { value($0, w) }
    let dw = numericalGradient(at: w) { value(x, $0) }
    let (actualX, actualW) = (try #require(a.gradient).doubles, try #require(b.gradient).doubles)
    #expect(relativeError(actualX, dx) < 1e-8)
    #expect(relativeError(actualW, dw) < 1e-8)
    #expect(relativeError(actualX, dw) > 1e-3 && relativeError(actualW, dx) > 1e-3)
  }

  @Test func secondDerivativeThroughBackward() throws {
    let x = try Tensor([0.5, -2]).requiringGradient()
    let w = try Tensor([3.0, 0.25]).requiringGradient()
    let y = try cubeTimes(x, w).sum()
    let first = try #require(try y.gradients(of: [x], createGraph: true)[0])
    let second = try first.sum().gradients(of: [x, w])
    try expect(#require(second[0]), [6 * 0.5 * 3, 6 * -2 * 0.25])
    try expect(#require(second[1]), [3 * 0.25, 3 * 4])
    let plain = try #require(try cubeTimes(x, w).sum().gradients(of: [x])[0])
    #expect(!plain.requiresGradient, "without createGraph the backward pass is not recorded")
  }

  @Test func nothingIsRecordedWithoutNeed() throws {
    let x = try Tensor([1.0])
    #expect(try !cubeTimes(x, x).requiresGradient)
    let leaf = try Tensor([1.0]).requiringGradient()
    #expect(try withoutGradients { try !cubeTimes(leaf, leaf).requiresGradient })
    #expect(try cubeTimes(leaf, x).requiresGradient)
  }

  @Test func passTellsWhatFlowsAndWhatIsNeeded() throws {
    let x = try Tensor([1.0, 2]).requiringGradient()
    let constant = try Tensor([5.0, 6])
    let log = Mutex<[String]>([])
    func both() throws -> [Tensor] {
      try CustomFunction.apply("both", inputs: [x, constant]) {
        (
          outputs: [try x * 2, try x * constant], saved: [],
          backward: { pass in
            log.withLock { $0.append("\(pass.gradients.map { $0 != nil }) \(pass.needed)") }
            let g = pass.gradients[0] ?? pass.gradients[1]!
            return [g, g]
          }
        )
      }
    }
    try both()[0].sum().backward()
    try both()[1].sum().backward()
    let outputs = try both()
    try (outputs[0].sum() + outputs[1].sum()).backward()
    #expect(
      log.withLock { $0 } == [
        "[true, false] [true, false]", "[false, true] [true, false]", "[true, true] [true, false]",
      ])
    #expect(constant.gradient == nil, "a gradient that nobody needs is dropped")
  }

  @Test func noGradientForAnInput() throws {
    let x = try Tensor([1.0]).requiringGradient()
    let y = try CustomFunction.apply("nothing", inputs: [x]) {
      (outputs: [try x * 2], saved: [], backward: { _ in [nil] })
    }[0]
    #expect(try y.sum().gradients(of: [x])[0] == nil)
  }

  // MARK: - Errors

  private func throwing(_ x: Tensor, _ code: Int) throws -> Tensor {
    try CustomFunction.apply("throwing", inputs: [x]) {
      (outputs: [try x * 2], saved: [x], backward: { _ in throw Stop(code: code) })
    }[0]
  }

  @Test func swiftErrorsComeBackAsTheyWere() throws {
    let x = try Tensor([1.0, 2]).requiringGradient()
    #expect(throws: Stop(code: 7)) { try throwing(x, 7).sum().backward() }
    // Through further operations, and out of the other entry.
    #expect(throws: Stop(code: 8)) { try (throwing(x * 3, 8) + x).exp().sum().gradients(of: [x]) }
    // It is gone then: the next failure is its own, and the next pass works.
    #expect(throws: TensorError.self) { try Tensor.ones([2]) + Tensor.ones([3]) }
    #expect(throws: Stop(code: 9)) {
      try CustomFunction.apply("f", inputs: [x]) { throw Stop(code: 9) }
    }
    try x.setGradient(nil)
    try (x * x).sum().backward()
    try expect(#require(x.gradient), [2, 4])
  }

  @Test func errorsOfTheEngineInsideBackward() throws {
    let x = try Tensor([1.0, 2]).requiringGradient()
    let y = try CustomFunction.apply("f", inputs: [x]) {
      (outputs: [try x * 2], saved: [], backward: { pass in [try pass.gradients[0]! + Tensor([1.0, 2, 3])] })
    }[0]
    let error = #expect(throws: TensorError.self) { try y.sum().backward() }
    #expect(error?.operation == "aten::add")
  }

  @Test func wrongGradientsAreErrors() throws {
    func run(_ gradients: @escaping () throws -> [Tensor?]) throws {
      let (x, w) = (try Tensor([1.0, 2]).requiringGradient(), try Tensor([1.0, 2]).requiringGradient())
      try CustomFunction.apply("mine", inputs: [x, w]) {
        (outputs: [try x * w], saved: [], backward: { _ in try gradients() })
      }[0].sum().backward()
    }
    for count in [0, 1, 3] {
      let error = #expect(throws: TensorError.self) {
        try run { try (0..<count).map { _ in try Tensor([1.0, 1]) } }
      }
      #expect(error?.description == "mine: backward returned \(count) gradients for 2 inputs")
    }
    let shape = #expect(throws: TensorError.self) {
      try run { [try Tensor([1.0, 1]), try Tensor([1.0, 2, 3])] }
    }
    #expect(shape?.message.contains("[3]") == true && shape?.message.contains("[2]") == true)
  }

  @Test func secondBackwardNeedsTheGraph() throws {
    let x = try Tensor([2.0]).requiringGradient()
    let y = try cubeTimes(x, Tensor([1.0])).sum()
    try y.backward(keepGraph: true)
    try y.backward()
    try expect(#require(x.gradient), [24])
    let single = try cubeTimes(x, Tensor([1.0]))
    try single.backward(Tensor([1.0]))
    let error = #expect(throws: TensorError.self) { try single.backward(Tensor([1.0])) }
    #expect(error?.message.contains("cubeTimes") == true && error?.message.contains("keepGraph") == true)
  }

  @Test func changedSavedTensorsAreDetected() throws {
    let x = try Tensor([2.0, 3]).requiringGradient()
    let middle = try x * 1
    let y = try cubeTimes(middle, Tensor([1.0, 1]))
    try withoutGradients { try middle.fill(5) }
    let error = #expect(throws: TensorError.self) { try y.sum().backward() }
    #expect(error?.message.contains("inplace") == true)
  }

  @Test func viewsAreNoOutputs() throws {
    let x = try Tensor([2.0, 3]).requiringGradient()
    let base = try Tensor([1.0, 2, 3])
    let error = #expect(throws: TensorError.self) {
      try CustomFunction.apply("view", inputs: [x]) {
        (outputs: [try base.sliced(0..<2)], saved: [], backward: { _ in [nil] })
      }
    }
    #expect(error?.message.contains("view") == true)
    // Reshaped as a fresh tensor it is one.
    let y = try CustomFunction.apply("fresh", inputs: [x]) {
      (
        outputs: [try (x * 2).reshapedAsFresh([2, 1])], saved: [],
        backward: { [try $0.gradients[0]!.reshaped([2]) * 2] }
      )
    }[0]
    try y.sum().backward()
    try expect(#require(x.gradient), [2, 2])
  }

  // MARK: - Nesting

  @Test func customFunctionInsideForwardAndBackward() throws {
    let x = try Tensor([0.5, 2]).requiringGradient()
    let one = try Tensor([1.0, 1])
    // y = x³; its backward takes the derivative of x³ by another engine run over another custom function.
    let y = try CustomFunction.apply("outer", inputs: [x]) {
      let inner = try cubeTimes(x, one)
      #expect(!inner.requiresGradient, "forward is not recorded")
      return (
        outputs: [inner], saved: [x],
        backward: { pass in
          try withGradients(enabled: true) {
            let leaf = try pass.saved[0].detached().requiringGradient()
            let derivative = try self.cubeTimes(leaf, one).sum().gradients(of: [leaf])[0]!
            return [try pass.gradients[0]! * derivative]
          }
        }
      )
    }[0]
    try (y * y).sum().backward()
    // d x⁶ = 6 x⁵.
    try expect(#require(x.gradient), [6 / 32.0, 6 * 32])
  }

  @Test func errorsCrossNestedEngines() throws {
    let x = try Tensor([0.5]).requiringGradient()
    let y = try CustomFunction.apply("outer", inputs: [x]) {
      (
        outputs: [try x * 2], saved: [],
        backward: { _ in
          try withGradients(enabled: true) {
            let leaf = try Tensor([1.0]).requiringGradient()
            try self.throwing(leaf, 42).backward(leaf.detached())
            return [nil]
          }
        }
      )
    }[0]
    #expect(throws: Stop(code: 42)) { try y.sum().backward() }
  }

  // MARK: - Lifetime

  enum Use: String, CaseIterable {
    case backward, noBackward, keptGraph, thrownError, savedOutput, savedOutputWithBackward, savedInput,
      noNeed
    case forwardThrows, viewOutput, higherDerivative
  }

  /// What the closures hold goes when the graph goes.
  @Test(arguments: Use.allCases) func nothingLeaks(_ use: Use) throws {
    let census = Census()
    var counts: Set<Int> = []
    for _ in 0..<1000 {
      let x = try Tensor([2.0]).requiringGradient(use != .noNeed)
      var output: Tensor?
      func apply() throws -> Tensor {
        let member = Census.Member(census)
        return try CustomFunction.apply("f", inputs: [x]) {
          if use == .forwardThrows { throw Stop(code: withExtendedLifetime(member) { 1 }) }
          let y = use == .viewOutput ? try Tensor([1.0, 2]).sliced(0..<1) : try x * x
          let savesOutput = use == .savedOutput || use == .savedOutputWithBackward
          return (
            outputs: [y], saved: savesOutput ? [y] : [x],
            backward: { pass in
              try withExtendedLifetime(member) {
                if use == .thrownError { throw Stop(code: 2) }
                return [
                  try pass.gradients[0]! * 2 * (savesOutput ? pass.saved[0].squareRoot() : pass.saved[0])
                ]
              }
            }
          )
        }[0]
      }
      switch use {
      case .forwardThrows: #expect(throws: Stop.self) { try apply() }
      case .viewOutput: #expect(throws: TensorError.self) { try apply() }
      default: output = try apply()
      }
      switch use {
      case .backward, .savedOutputWithBackward:
        try output!.backward(Tensor([1.0]))
        try expect(#require(x.gradient), [4])
      case .keptGraph: try output!.backward(Tensor([1.0]), keepGraph: true)
      case .thrownError: #expect(throws: Stop.self) { try output!.backward(Tensor([1.0])) }
      case .higherDerivative:
        let first = try #require(
          try output!.gradients(of: [x], cotangent: Tensor([1.0]), createGraph: true)[0])
        try expect(#require(try first.gradients(of: [x], cotangent: Tensor([1.0]))[0]), [2])
      case .noBackward, .savedInput, .savedOutput, .noNeed, .forwardThrows, .viewOutput: break
      }
      if output != nil, use != .noNeed { counts.insert(census.count) }
      output = nil
    }
    #expect(counts.isSubset(of: [1]), "the graph holds it as long as it lives")
    #expect(census.count == 0)
  }

  /// A call whose first result is undefined is an error, and what came beside it goes: a tensor that stayed would
  /// hold the graph, and that the closure.
  @Test func resultsOfFailedCallsAreFreed() throws {
    let census = Census()
    let backward = Operator("aten::native_batch_norm_backward")
    for _ in 0..<10 {
      let x = try Tensor([1.0, 2], shape: [1, 1, 2]).requiringGradient()
      let member = Census.Member(census)
      let y = try CustomFunction.apply("f", inputs: [x]) {
        (
          outputs: [try x * 2], saved: [],
          backward: { pass in withExtendedLifetime(member) { pass.gradients } }
        )
      }[0]
      let one = try Tensor([1.0])
      #expect(throws: TensorError.self) {
        try backward(
          .tensor(y), .tensor(x), .tensor(one), .tensor(one), .tensor(one), .tensor(one), .tensor(one), true,
          0.0,
          .bools([false, true, true]))
      }
    }
    #expect(census.count == 0)
  }

  /// Thrown objects are handed over once.
  @Test func thrownErrorsAreReleased() throws {
    final class Payload: Error {
      let member: Census.Member
      init(_ member: Census.Member) { self.member = member }
    }
    let census = Census()
    for _ in 0..<100 {
      let x = try Tensor([2.0]).requiringGradient()
      let y = try CustomFunction.apply("f", inputs: [x]) {
        (outputs: [try x * x], saved: [], backward: { _ in throw Payload(Census.Member(census)) })
      }[0]
      #expect(throws: Payload.self) { try y.sum().backward() }
    }
    #expect(census.count == 0)
  }
}
