import NormaFormats
import NormaNN
import NormaTensor

/// From recorded operators to a graph.
final class ONNXTranslator {
  /// What it has so far, useless parts included.
  var graph: ONNX
  private let extents: ONNXExtents
  private let keys: [UInt: String]
  /// The value that a tensor has now; a tensor that is changed in place has one after the other.
  private var values: [UInt: String] = [:]
  /// Tensors that follow from the input.
  private var dependent: Set<UInt> = []
  /// Tensors that share elements with others under another identity.
  private var views: Set<UInt> = []
  /// What a tensor of the first run is in the second.
  private var twins: [UInt: Tensor] = [:]
  /// The last call that changes a tensor in place. The elements of constants are read when all calls are over.
  private var lastChange: [UInt: Int] = [:]
  private var callIndex = 0
  private var cached: [String: String] = [:]
  private var dimensions: [ONNXExtents.Extent: String] = [:]
  private var count = 0

  init(name: String, state: [(key: String, value: Tensor)], extents: ONNXExtents) {
    graph = ONNX(name: name)
    self.extents = extents
    keys = Dictionary(state.map { ($0.value.identity, $0.key) }) { first, _ in first }
  }

  func setInput(_ name: String, _ tensor: Tensor, _ axes: [ONNXAxis]) {
    values[tensor.identity] = name
    dependent.insert(tensor.identity)
    let shape: [ONNX.Extent] = axes.map {
      switch $0 {
      case .fixed(let extent): .fixed(extent)
      case .any(let name, _, _): .named(name)
      }
    }
    graph.inputs = [.init(name: name, type: .init(tensor.dtype), shape: shape)]
  }

  func translate(_ first: [TracedCall], _ second: [TracedCall]) throws {
    guard first.map(\.name) == second.map(\.name) else {
      throw ONNXExportError("the network calls other operators for inputs of another size")
    }
    for (index, call) in first.enumerated() where call.isInPlace {
      for tensor in call.arguments.prefix(1).flatMap(\.tensors) { lastChange[tensor.identity] = index }
    }
    for (index, (a, b)) in zip(first, second).enumerated() {
      callIndex = index
      for case (let x?, let y?) in zip(a.results, b.results) { twins[x.identity] = y }
      try translate(ONNXCall(first: a, second: b, translator: self))
    }
  }

  private func translate(_ call: ONNXCall) throws {
    let arguments = call.first.arguments.flatMap(\.tensors).map(\.identity)
    let follows = arguments.contains { dependent.contains($0) }
    if call.first.name == OperatorTrace.read {
      if follows {
        throw ONNXExportError(
          "the network reads elements of a tensor that depends on the input, and what it does with them is not recorded"
        )
      }
      return
    }
    if Self.random.contains(call.first.name) {
      throw ONNXExportError("the network draws random numbers (\(call.first.name)) in evaluation mode")
    }
    let isInPlace = call.first.isInPlace
    if isInPlace, follows, let target = arguments.first, views.contains(target) {
      throw ONNXExportError(
        "\(call.first.name) changes a tensor in place that shares its elements with another, which a graph cannot say")
    }
    let name = isInPlace ? String(call.first.name.dropLast()) : call.first.name
    let results: [String]
    do {
      guard let translation = Self.translations[name] else {
        throw ONNXExportError("the operator '\(call.first.name)' has no translation")
      }
      results = try translation(self, call)
    } catch  where !follows {
      // What does not depend on the input is a constant, whatever it was computed by.
      for case let tensor? in call.first.results { values[tensor.identity] = nil }
      return
    }
    for case (let value, let tensor?) in zip(results, call.first.results) {
      values[tensor.identity] = value
      if follows { dependent.insert(tensor.identity) }
    }
    if Self.viewing.contains(name) {
      views.formUnion(arguments.prefix(1) + call.first.results.compactMap { $0?.identity })
    }
  }

  private static let random: Set<String> = [
    "aten::normal_", "aten::uniform_", "aten::bernoulli_", "aten::bernoulli", "aten::rand", "aten::randn",
  ]

  private static let viewing: Set<String> = [
    "aten::reshape", "aten::flatten", "aten::transpose", "aten::permute", "aten::expand", "aten::squeeze",
    "aten::unsqueeze", "aten::select", "aten::slice", "aten::split_with_sizes", "aten::detach",
  ]

  /// The graph, with the result under its name and without what it does not need.
  func finish(_ name: String, _ first: Tensor, _ second: Tensor) throws -> ONNX {
    guard dependent.contains(first.identity), let value = values[first.identity] else {
      throw ONNXExportError("the output does not depend on the input")
    }
    if value == graph.inputs[0].name {
      graph.nodes.append(.init("Identity", [value], [name]))
    } else {
      for index in graph.nodes.indices {
        func renamed(_ names: [String]) -> [String] { names.map { $0 == value ? name : $0 } }
        graph.nodes[index].inputs = renamed(graph.nodes[index].inputs)
        graph.nodes[index].outputs = renamed(graph.nodes[index].outputs)
      }
    }
    let shape: [ONNX.Extent] = zip(first.shape, second.shape).map { a, b in
      guard let extent = extents.extent(a, b) else { return .unknown }
      if let constant = extent.constant { return .fixed(constant) }
      let isAxis = extent.factor == 1 && extent.divisor == 1 && extent.axes.count == 1
      return isAxis ? .named(extents.names[extent.axes[0]]!) : .unknown
    }
    graph.outputs = [.init(name: name, type: .init(first.dtype), shape: shape)]
    var needed: Set<String> = [name]
    graph.nodes = Array(
      graph.nodes.reversed().filter { node in
        guard node.outputs.contains(where: { needed.contains($0) }) else { return false }
        needed.formUnion(node.inputs)
        return true
      }.reversed())
    graph.constants = graph.constants.filter { needed.contains($0.name) }
    return graph
  }
}

// MARK: - Parts of the graph

extension ONNXTranslator {
  /// Adds a node.
  /// - Returns: the name of its only result.
  func emit(_ type: String, _ inputs: [String], _ attributes: [(String, ONNX.Attribute)] = []) -> String {
    emit(type, inputs, attributes, results: 1)[0]
  }

  func emit(
    _ type: String, _ inputs: [String], _ attributes: [(String, ONNX.Attribute)] = [], results: Int
  ) -> [String] {
    // No key of a state has a slash.
    let outputs = (0..<results).map { _ in unusedName("/\(type)") }
    graph.nodes.append(.init(type, inputs, outputs, attributes))
    return outputs
  }

  private func unusedName(_ stem: String) -> String {
    count += 1
    return "\(stem).\(count)"
  }

  /// A tensor's present value: what computed it, or a constant with its elements.
  func value(of tensor: Tensor) throws -> String {
    if let value = values[tensor.identity] { return value }
    if let twin = twins[tensor.identity] {
      guard twin.shape == tensor.shape, try twin.storedBytes() == tensor.storedBytes() else {
        throw ONNXExportError("a constant of shape \(tensor.shape) is another for inputs of another size")
      }
    }
    if lastChange[tensor.identity, default: -1] >= callIndex {
      throw ONNXExportError("a constant of shape \(tensor.shape) is changed in place after it was used; change a copy")
    }
    let name = add(tensor, keys[tensor.identity])
    values[tensor.identity] = name
    return name
  }

  private func add(_ tensor: Tensor, _ key: String? = nil) -> String {
    let name = key ?? unusedName("/constant")
    graph.constants.append(.init(name, tensor))
    return name
  }

  func value(of tensor: Tensor, as dtype: DType) throws -> String {
    let value = try value(of: tensor)
    return tensor.dtype == dtype ? value : cast(value, dtype)
  }

  func cast(_ value: String, _ dtype: DType) -> String {
    emit("Cast", [value], [("to", .int(Safetensors.ElementType(dtype).onnxCode))])
  }

  /// A constant of one element and no dimensions.
  func scalar(_ number: Double, _ dtype: DType) throws -> String {
    try constant("\(dtype) \(number)") { try Tensor.full([], number, dtype: dtype) }
  }

  /// A vector of int64, as operators take axes and shapes.
  func ints(_ numbers: [Int]) throws -> String { try constant("ints \(numbers)") { try Tensor(numbers) } }

  func floats(_ numbers: [Double]) throws -> String {
    try constant("floats \(numbers)") { try Tensor(numbers.map(Float.init)) }
  }

  /// [count] of one number.
  func vector(_ number: Double, _ count: Int, _ dtype: DType) throws -> String {
    try constant("\(dtype) \(number) × \(count)") { try Tensor.full([count], number, dtype: dtype) }
  }

  private func constant(_ key: String, _ make: () throws -> Tensor) rethrows -> String {
    if let name = cached[key] { return name }
    let name = add(try make())
    cached[key] = name
    return name
  }

  /// A vector of int64 with the given extents, computed from the input's shape where they depend on it.
  func shape(_ shape: [ONNXExtents.Extent]) throws -> String {
    let constants = shape.compactMap(\.constant)
    if constants.count == shape.count { return try ints(constants) }
    return emit("Concat", try shape.map(dimension), [("axis", .int(0))])
  }

  /// A vector of one extent.
  private func dimension(_ extent: ONNXExtents.Extent) throws -> String {
    if let constant = extent.constant { return try ints([constant]) }
    if let name = dimensions[extent] { return name }
    var product: String?
    for axis in extent.axes {
      let one = emit("Shape", [graph.inputs[0].name], [("start", .int(axis)), ("end", .int(axis + 1))])
      product = product.map { emit("Mul", [$0, one]) } ?? one
    }
    var name = product!
    if extent.factor != 1 { name = emit("Mul", [name, try ints([extent.factor])]) }
    if extent.divisor != 1 { name = emit("Div", [name, try ints([extent.divisor])]) }
    dimensions[extent] = name
    return name
  }

  /// The value in the shape that a tensor has in both runs.
  func reshape(_ value: String, of source: (Tensor, Tensor), to target: (Tensor, Tensor)) throws -> String {
    // 0 stands for the extent that is there, -1 for what is left.
    var places = partialShape(of: target, keeping: source, broadcasts: false)
    let open = places.indices.filter { places[$0] == nil }
    if open.count == 1 { places[open[0]] = .constant(-1) }
    return emit("Reshape", [value, try shape(places, target)])
  }

  /// The value with extents of 1 repeated.
  func expand(_ value: String, _ source: (Tensor, Tensor), to target: (Tensor, Tensor)) throws -> String {
    emit("Expand", [value, try shape(partialShape(of: target, keeping: source, broadcasts: true), target)])
  }

  /// Constants, and where an extent stays what it is, the number that says so: 0, or 1 where shapes broadcast.
  private func partialShape(
    of target: (Tensor, Tensor), keeping source: (Tensor, Tensor), broadcasts: Bool
  ) -> [ONNXExtents.Extent?] {
    let from = (source.0.shape, source.1.shape)
    // Shapes that broadcast are aligned at their ends.
    let first = broadcasts ? target.0.rank - source.0.rank : 0
    return zip(target.0.shape, target.1.shape).enumerated().map { place, extent in
      if extent.0 == extent.1 { return .constant(extent.0) }
      let index = place - first
      let isKept = from.0.indices.contains(index) && from.0[index] == extent.0 && from.1[index] == extent.1
      return isKept ? .constant(broadcasts ? 1 : 0) : nil
    }
  }

  private func shape(_ places: [ONNXExtents.Extent?], _ target: (Tensor, Tensor)) throws -> String {
    try shape(
      zip(places, zip(target.0.shape, target.1.shape)).map { place, extent in
        try place ?? extents([extent.0], [extent.1])[0]
      })
  }

  /// The extents that have these values in the two runs.
  func extents(_ first: [Int], _ second: [Int]) throws -> [ONNXExtents.Extent] {
    try zip(first, second).map { a, b in
      guard let extent = extents.extent(a, b) else {
        throw ONNXExportError(
          "an extent is \(a) for inputs of \(extents.first) and \(b) for \(extents.second), which is no multiple of their "
            + "extents; give the input fixed ones")
      }
      return extent
    }
  }
}

/// A call in both runs.
struct ONNXCall {
  let first: TracedCall
  let second: TracedCall
  unowned let translator: ONNXTranslator

  private var name: String { first.name }

  private func unexpected(_ index: Int, _ kind: String) -> ONNXExportError {
    ONNXExportError("argument \(index) of '\(name)' should be \(kind)")
  }

  private func argument(_ index: Int) -> (OperatorArgument, OperatorArgument) {
    index < first.arguments.count && index < second.arguments.count
      ? (first.arguments[index], second.arguments[index]) : (.default, .default)
  }

  /// The first result.
  var result: Tensor { first.results[0]! }
  var results: (Tensor, Tensor) { (first.results[0]!, second.results[0]!) }

  /// A tensor in both runs.
  func tensors(_ index: Int) throws -> (Tensor, Tensor) {
    guard case (.tensor(let a), .tensor(let b)) = argument(index) else { throw unexpected(index, "a tensor") }
    return (a, b)
  }

  func tensor(_ index: Int) throws -> Tensor { try tensors(index).0 }

  func isTensor(_ index: Int) -> Bool { if case .tensor = argument(index).0 { true } else { false } }

  /// The name of a tensor or number, converted.
  func value(_ index: Int, as dtype: DType) throws -> String {
    if isTensor(index) { return try translator.value(of: tensor(index), as: dtype) }
    return try translator.scalar(try number(index)!, dtype)
  }

  /// The name of a tensor.
  func value(_ index: Int) throws -> String { try translator.value(of: tensor(index)) }

  /// The same number in both runs, or nil.
  func number(_ index: Int) throws -> Double? {
    switch argument(index) {
    case (.double(let a), .double(let b)) where a == b: return a
    case (.int(let a), .int(let b)) where a == b: return Double(a)
    case (.default, .default), (.none, .none): return nil
    default: throw unexpected(index, "the same number for inputs of every size")
    }
  }

  func int(_ index: Int) throws -> Int {
    guard case (.int(let a), .int(let b)) = argument(index), a == b else {
      throw unexpected(index, "the same whole number for inputs of every size")
    }
    return a
  }

  func bool(_ index: Int) -> Bool { if case (.bool(true), _) = argument(index) { true } else { false } }

  /// The same numbers in both runs, or nil for none.
  func ints(orNone index: Int) throws -> [Int]? {
    switch argument(index) {
    case (.ints(let a), .ints(let b)) where a == b: return a
    case (.default, .default), (.none, .none): return nil
    default: throw unexpected(index, "the same whole numbers for inputs of every size")
    }
  }

  func ints(_ index: Int) throws -> [Int] {
    guard let ints = try ints(orNone: index) else { throw unexpected(index, "whole numbers") }
    return ints
  }

  /// A list of tensors.
  func list(_ index: Int) throws -> [Tensor] {
    guard case .tensors(let tensors) = argument(index).0 else { throw unexpected(index, "a list of tensors") }
    return tensors
  }

  /// How far a number is below an extent of a tensor, where that differs between the runs and the distance does not.
  func distance(_ index: Int, toExtent axis: Int, of tensors: (Tensor, Tensor)) -> Int? {
    guard case (.int(let a), .int(let b)) = argument(index) else { return nil }
    let axis = axis < 0 ? axis + tensors.0.rank : axis
    let distance = tensors.0.shape[axis] - a
    return distance == tensors.1.shape[axis] - b && (a != b || distance == 0) ? distance : nil
  }

  /// Numbers that may follow from the input's extents.
  func extents(_ index: Int) throws -> [ONNXExtents.Extent] {
    switch argument(index) {
    case (.ints(let a), .ints(let b)) where a.count == b.count: return try translator.extents(a, b)
    case (.int(let a), .int(let b)): return try translator.extents([a], [b])
    default: throw unexpected(index, "whole numbers")
    }
  }
}

extension TracedCall {
  fileprivate var isInPlace: Bool { name.hasSuffix("_") }
}

extension OperatorArgument {
  fileprivate var tensors: [Tensor] {
    switch self {
    case .tensor(let tensor): [tensor]
    case .tensors(let tensors): tensors
    case .optionalTensors(let tensors): tensors.compactMap { $0 }
    default: []
    }
  }
}

extension Tensor {
  var identity: UInt { state.identity }
}
