import NormaTensor
import TestSupport
import Testing

@testable import NormaNN

private class Base: Module {
  let firstWeight: Parameter
  let runningMean: Buffer
  let count = 3
  init(_ value: Double) throws {
    firstWeight = try Parameter(Tensor([value, value]))
    runningMean = Buffer(try Tensor([value]))
  }
}

private final class Derived: Base {
  let conv1: Linear
  let missing: Linear?
  let optionalBias: Parameter?
  let blocks: [any Layer]
  let pairs: [[Parameter]]
  var isUsed = true

  override init(_ value: Double) throws {
    conv1 = try Linear(inputs: 2, outputs: 1)
    missing = nil
    optionalBias = try Parameter(Tensor([value], shape: [1, 1]))
    blocks = [
      try Linear(inputs: 1, outputs: 1, bias: false), Flatten(),
      Sequential([try Linear(inputs: 3, outputs: 1)]),
    ]
    pairs = [[try Parameter(Tensor([value]))], []]
    try super.init(value)
  }
}

@Suite struct ModuleTests {
  @Test func keysInPyTorchsManner() throws {
    let module = try Derived(1)
    #expect(
      module.stateDictionary().map(\.key) == [
        "first_weight", "running_mean", "optional_bias", "pairs.0.0", "conv1.weight", "conv1.bias",
        "blocks.0.weight",
        "blocks.2.layers.0.weight", "blocks.2.layers.0.bias",
      ])
    #expect(module.namedBuffers().map(\.key) == ["running_mean"])
    #expect(
      module.namedParameters().map(\.key)
        == module.stateDictionary().map(\.key).filter { $0 != "running_mean" })
    #expect(
      module.namedModules().map(\.key) == [
        "", "conv1", "blocks.0", "blocks.1", "blocks.2", "blocks.2.layers.0",
      ])
    #expect(Module.key(forProperty: "runningVarOf2d") == "running_var_of2d")
    #expect(module.parameters.count == 8)
    // 2 + 1 + 1 + (2 + 1) + 1 + (3 + 1) = 12 and a running mean.
    #expect(module.trainableCount == 12)
    #expect(module.totalCount == 13)
  }

  @Test func trainingModeReachesAll() throws {
    let module = try Derived(1)
    #expect(module.namedModules().allSatisfy { $0.module.isTraining })
    module.evaluate()
    #expect(module.namedModules().allSatisfy { !$0.module.isTraining })
    (module.blocks[2] as Module).train()
    #expect(
      module.namedModules().filter { $0.module.isTraining }.map(\.key) == ["blocks.2", "blocks.2.layers.0"])
    module.train()
    #expect(module.namedModules().allSatisfy { $0.module.isTraining })
  }

  @Test func frozenParameters() throws {
    let module = try Derived(1)
    let parameter = module.conv1.weight
    try parameter.freeze()
    #expect(parameter.isFrozen && !parameter.value.requiresGradient)
    #expect(module.trainableCount == 10)
    #expect(module.totalCount == 13)
    try module.conv1(Tensor.ones([1, 2])).sum().backward()
    #expect(parameter.gradient == nil)
    #expect(try #require(module.conv1.bias?.gradient).item() == 1)
    try module.to(dtype: .float64)
    #expect(!parameter.value.requiresGradient, "conversion keeps it frozen")
    try parameter.freeze(false)
    #expect(parameter.value.requiresGradient)
    try module.conv1(Tensor.ones([1, 2], dtype: .float64)).sum().backward()
    #expect(try #require(parameter.gradient).doubles == [1, 1])
    try module.clearGradients()
    #expect(module.parameters.allSatisfy { $0.gradient == nil })
    #expect(throws: TensorError.self) { try Parameter(Tensor([1, 2])) }
  }

  @Test func conversionKeepsValuesAndLeaves() throws {
    let linear = try Linear(inputs: 3, outputs: 2, generator: Generator(seed: 1))
    let before = try linear.weight.value.doubles
    try linear.to(dtype: .float64)
    #expect(linear.weight.value.dtype == .float64)
    #expect(try linear.weight.value.doubles == before)
    try linear(Tensor.ones([1, 3], dtype: .float64)).sum().backward()
    #expect(linear.weight.gradient?.dtype == .float64, "it is a leaf still")
    try linear.to(device: .cpu)
    #expect(try linear.weight.value.doubles == before)

    let derived = try Derived(1)
    try derived.to(dtype: .bfloat16)
    #expect(derived.runningMean.value.dtype == .bfloat16)
    final class Counter: Module { let steps = try! Buffer(Tensor([3])) }
    let counter = Counter()
    try counter.to(dtype: .float64)
    #expect(counter.steps.value.dtype == .int64, "whole numbers stay what they are")

    let conv = try Convolution(inputChannels: 2, outputChannels: 3, kernel: [3, 3])
    let values = try conv.weight.value.doubles
    try conv.to(memoryFormat: .channelsLast)
    #expect(conv.weight.value.isContiguous(.channelsLast) && !conv.weight.value.isContiguous())
    #expect(try conv.weight.value.doubles == values)
    #expect(try conv(Tensor.normal([1, 2, 5, 5])).isContiguous(.channelsLast))
  }

  @Test func statesTravel() throws {
    let (a, b) = (try Derived(1), try Derived(2))
    let own = b.firstWeight.value
    var state: [String: Tensor] = [:]
    for (key, value) in a.stateDictionary() { state[key] = try value.detached().to(dtype: .float64).cloned() }
    try b.load(stateDictionary: state)
    for ((key, x), (_, y)) in zip(a.stateDictionary(), b.stateDictionary()) {
      #expect(try x.doubles == y.doubles, "\(key)")
    }
    #expect(try own.doubles == [1, 1], "copied into the module's own tensors")
    #expect(b.firstWeight.value.requiresGradient)
    try a.firstWeight.value.fill(7)
    #expect(try b.firstWeight.value.doubles == [1, 1])
  }

  @Test func statesThatDoNotFitAreDescribedAtOnceAndNotCopied() throws {
    let module = try Derived(1)
    let before = try module.stateDictionary().map { try $0.value.doubles }
    var state: [String: Tensor] = [:]
    for (key, value) in module.stateDictionary() { state[key] = try value.detached() + 5 }
    state["first_weight"] = nil
    state["conv1.bias"] = nil
    state["zebra"] = try Tensor([1.0])
    state["ant"] = try Tensor([1.0])
    state["conv1.weight"] = try Tensor.ones([2, 1])
    state["running_mean"] = try Tensor.ones([])
    let error = try #require(throws: StateError.self) { try module.load(stateDictionary: state) }
    #expect(error.missing == ["first_weight", "conv1.bias"])
    #expect(error.unexpected == ["ant", "zebra"])
    #expect(
      error.misshaped == ["running_mean: expected [1], got []", "conv1.weight: expected [1, 2], got [2, 1]"])
    for word in error.missing + error.unexpected + error.misshaped {
      #expect(error.description.contains(word))
    }
    #expect(try module.stateDictionary().map { try $0.value.doubles } == before)
    // One fault alone is one too.
    var extra = Dictionary(uniqueKeysWithValues: module.stateDictionary().map { ($0.key, $0.value) })
    extra["more"] = try Tensor([1.0])
    #expect(throws: StateError.self) { try module.load(stateDictionary: extra) }
    #expect(try module.stateDictionary().map { try $0.value.doubles } == before)
  }
}

@Suite struct LayerObserverTests {
  @Test func everyCallIsSeenInOrder() throws {
    let inner = try Linear(inputs: 2, outputs: 3)
    let network = Sequential([inner, Sequential([ActivationLayer(.relu)]), Flatten()])
    let calls = Calls()
    let x = try Tensor.ones([4, 2])
    let y = try LayerObserver.observe({ calls.add($0, $1, $2) }, { try network(x) })
    #expect(
      calls.list == [
        "Linear [4, 2] [4, 3]", "ActivationLayer [4, 3] [4, 3]", "Sequential [4, 3] [4, 3]",
        "Flatten [4, 3] [4, 3]",
        "Sequential [4, 2] [4, 3]",
      ])
    #expect(try y.doubles == network(x).doubles)
    #expect(calls.list.count == 5, "calls after it are not seen")
    struct Stop: Error {}
    #expect(throws: Stop.self) { try LayerObserver.observe({ calls.add($0, $1, $2) }, { throw Stop() }) }
    _ = try network(x)
    #expect(calls.list.count == 5)
    #expect(throws: TensorError.self) {
      try LayerObserver.observe({ calls.add($0, $1, $2) }, { try network(Tensor.ones([4, 5])) })
    }
    #expect(calls.list.count == 5, "a call that fails has no output to look at")
  }

  private final class Calls: @unchecked Sendable {
    var list: [String] = []
    func add(_ layer: Module, _ input: Tensor, _ output: Tensor) {
      list.append("\(type(of: layer)) \(input.shape) \(output.shape)")
    }
  }
}
