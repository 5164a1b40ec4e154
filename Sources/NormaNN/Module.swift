import NormaTensor

/// A trainable tensor of a module.
public final class Parameter {
  /// The tensor; replaced when the module moves to another type or device.
  public private(set) var value: Tensor

  /// - Throws: ``TensorError`` when the type cannot carry gradients.
  public init(_ value: Tensor) throws {
    self.value = try value.requiringGradient()
  }

  /// The gradient of the last backward pass, or nil.
  public var gradient: Tensor? { value.gradient }

  /// A frozen parameter takes no gradient and is left alone by optimizers.
  public private(set) var isFrozen = false

  public func freeze(_ frozen: Bool = true) throws {
    isFrozen = frozen
    try value.requiringGradient(!frozen)
  }

  func replace(_ convert: (Tensor) throws -> Tensor) throws {
    value = try convert(value.detached()).detached().requiringGradient(!isFrozen)
  }
}

/// A tensor that belongs to a module's state but is not trained, such as running statistics.
public final class Buffer {
  public private(set) var value: Tensor
  public init(_ value: Tensor) { self.value = value }

  func replace(_ convert: (Tensor) throws -> Tensor) throws { value = try convert(value) }
}

/// Members of a module whose keys end alike, such as `weight_ih_l0` and `bias_ih_l0`: what its stored properties hold belongs
/// to the module that holds it.
protocol SuffixedMembers {
  var keySuffix: String { get }
}

/// A node in the tree of a network: its stored properties of type ``Parameter``, ``Buffer``, ``Module``
/// (and arrays and optionals of them) are found by name, so a subclass only declares them.
///
/// Keys of the state are the property names in PyTorch's manner: `runningMean` of the second element
/// of `encoder` is `encoder.1.running_mean`.
open class Module {
  /// Training mode or evaluation mode; set for the whole tree by ``train(_:)`` and ``evaluate()``.
  public private(set) final var isTraining = true

  /// Sets the mode of this module alone.
  public final func setTraining(_ training: Bool) { isTraining = training }

  public init() {}

  /// Direct members that a loaded state may lack.
  open var optionalKeys: Set<String> { [] }

  /// Turns a tensor that is loaded for a direct member into what this module keeps there; by default itself.
  /// - Parameter shape: the member's.
  open func loadable(_ tensor: Tensor, for key: String, shape: [Int]) throws -> Tensor { tensor }

  /// Puts this module and all below it into training mode (or, with false, evaluation mode).
  public final func train(_ training: Bool = true) {
    for (_, module) in namedModules() { module.isTraining = training }
  }

  /// Puts this module and all below it into evaluation mode.
  public final func evaluate() { train(false) }
}

// MARK: - The tree

extension Module {
  /// A thing that a module's stored property holds.
  enum Member {
    case parameter(Parameter)
    case buffer(Buffer)
    case module(Module)
  }

  /// Direct members with their keys, in order of declaration, those of the superclass first.
  final var members: [(key: String, member: Member)] {
    var levels: [Mirror] = []
    var mirror: Mirror? = Mirror(reflecting: self)
    while let level = mirror, level.subjectType != Module.self {
      levels.append(level)
      mirror = level.superclassMirror
    }
    var found: [(key: String, member: Member)] = []
    for level in levels.reversed() {
      for (label, value) in level.children {
        if let label { Module.collect(value, key: Module.key(forProperty: label), into: &found) }
      }
    }
    return found
  }

  private static func collect(_ value: Any, key: String, into found: inout [(key: String, member: Member)]) {
    switch value {
    case let parameter as Parameter: found.append((key, .parameter(parameter)))
    case let buffer as Buffer: found.append((key, .buffer(buffer)))
    case let module as Module: found.append((key, .module(module)))
    case let group as any SuffixedMembers:
      for (label, child) in Mirror(reflecting: group).children {
        if let label { collect(child, key: Module.key(forProperty: label) + group.keySuffix, into: &found) }
      }
    default:
      let mirror = Mirror(reflecting: value)
      switch mirror.displayStyle {
      case .optional:
        if let wrapped = mirror.children.first { collect(wrapped.value, key: key, into: &found) }
      case .collection:
        for (index, child) in mirror.children.enumerated() {
          collect(child.value, key: "\(key).\(index)", into: &found)
        }
      default: break
      }
    }
  }

  /// `runningMean` → `running_mean`; digits stay attached.
  static func key(forProperty label: String) -> String {
    var key = ""
    for character in label {
      if character.isUppercase {
        key += "_" + character.lowercased()
      } else {
        key.append(character)
      }
    }
    return key
  }

  /// All modules of the tree with their keys, this one first under the key "".
  public final func namedModules(prefix: String = "") -> [(key: String, module: Module)] {
    var found: [(key: String, module: Module)] = [(prefix, self)]
    for case (let key, .module(let child)) in members {
      found += child.namedModules(prefix: prefix.isEmpty ? key : "\(prefix).\(key)")
    }
    return found
  }

  private func leaves<Leaf>(_ pick: (Member) -> Leaf?) -> [(key: String, leaf: Leaf)] {
    namedModules().flatMap { path, module in
      module.members.compactMap { key, member in
        pick(member).map { (path.isEmpty ? key : "\(path).\(key)", $0) }
      }
    }
  }

  /// All parameters of the tree with their keys.
  public final func namedParameters() -> [(key: String, parameter: Parameter)] {
    leaves { if case .parameter(let parameter) = $0 { parameter } else { nil } }
      .map { ($0.key, $0.leaf) }
  }

  /// All buffers of the tree with their keys.
  public final func namedBuffers() -> [(key: String, buffer: Buffer)] {
    leaves { if case .buffer(let buffer) = $0 { buffer } else { nil } }.map { ($0.key, $0.leaf) }
  }

  /// All parameters of the tree.
  public final var parameters: [Parameter] { namedParameters().map(\.parameter) }

  /// Numbers in the parameters that are trained.
  public final var trainableCount: Int {
    parameters.filter { !$0.isFrozen }.reduce(0) { $0 + $1.value.count }
  }

  /// Numbers in all parameters and buffers but counters, as Keras counts "total parameters".
  public final var totalCount: Int {
    parameters.reduce(0) { $0 + $1.value.count }
      + namedBuffers().reduce(0) { $0 + ($1.buffer.value.dtype.isFloatingPoint ? $1.buffer.value.count : 0) }
  }
}

// MARK: - State

/// A state that does not fit a module: everything that is wrong with it, at once.
public struct StateError: Error, CustomStringConvertible, Sendable {
  public let missing: [String]
  public let unexpected: [String]
  /// Sentences such as `conv.weight: expected [8, 1, 3, 3], got [8, 3, 3]`.
  public let misshaped: [String]

  public var description: String {
    var parts: [String] = []
    if !missing.isEmpty { parts.append("missing: \(missing.joined(separator: ", "))") }
    if !unexpected.isEmpty { parts.append("unexpected: \(unexpected.joined(separator: ", "))") }
    if !misshaped.isEmpty { parts.append("wrong shape: \(misshaped.joined(separator: "; "))") }
    return "the state does not fit the network; " + parts.joined(separator: "; ")
  }

  /// What the given entries differ in from the expected ones; nil where they are the same, shape by shape.
  public init?(_ given: [String: [Int]], against expected: [(key: String, shape: [Int])]) {
    let keys = Set(expected.map(\.key))
    missing = expected.map(\.key).filter { given[$0] == nil }
    unexpected = given.keys.filter { !keys.contains($0) }.sorted()
    misshaped = expected.compactMap { key, shape in
      given[key].flatMap { $0 == shape ? nil : "\(key): expected \(shape), got \($0)" }
    }
    if missing.isEmpty, unexpected.isEmpty, misshaped.isEmpty { return nil }
  }

  /// Throws unless the given entries are the expected ones, shape by shape.
  public static func check(_ given: [String: [Int]], against expected: [(key: String, shape: [Int])]) throws {
    if let mismatch = StateError(given, against: expected) { throw mismatch }
  }
}

extension Module {
  /// Parameters and buffers by key, in order of declaration. The tensors are the module's own.
  public final func stateDictionary() -> [(key: String, value: Tensor)] {
    state.map { ($0.key, $0.value) }
  }

  /// The entries of the state with the module that each belongs to and its key there.
  private var state: [(key: String, value: Tensor, owner: Module, member: String)] {
    namedModules().flatMap { path, module in
      module.members.compactMap { key, member in
        let full = path.isEmpty ? key : "\(path).\(key)"
        switch member {
        case .parameter(let parameter): return (full, parameter.value, module, key)
        case .buffer(let buffer): return (full, buffer.value, module, key)
        case .module: return nil
        }
      }
    }
  }

  /// Copies the given tensors into the parameters and buffers.
  /// - Throws: ``StateError`` naming all missing, unexpected and misshaped entries; then nothing was copied.
  public final func load(stateDictionary: [String: Tensor]) throws {
    let (fitting, mismatch) = try fitted(stateDictionary)
    if let mismatch { throw mismatch }
    for entry in state { if let given = fitting[entry.key] { try entry.value.copy(from: given) } }
  }

  /// All that keeps the given tensors from being loaded, or nil.
  public final func mismatch(stateDictionary: [String: Tensor]) throws -> StateError? {
    try fitted(stateDictionary).mismatch
  }

  /// The given tensors as they would be copied.
  private func fitted(_ stateDictionary: [String: Tensor]) throws -> (tensors: [String: Tensor], mismatch: StateError?)
  {
    let own = state
    var fitting = stateDictionary
    for (key, value, owner, member) in own {
      if let given = stateDictionary[key] {
        fitting[key] = try owner.loadable(given, for: member, shape: value.shape)
      }
    }
    let needed = own.filter { stateDictionary[$0.key] != nil || !$0.owner.optionalKeys.contains($0.member) }
    let mismatch = StateError(fitting.mapValues(\.shape), against: needed.map { ($0.key, $0.value.shape) })
    return (fitting, mismatch)
  }

  /// Converts all floating-point parameters and buffers.
  public final func to(dtype: DType) throws {
    try convert { $0.dtype.isFloatingPoint ? try $0.to(dtype: dtype) : $0 }
  }

  public final func to(device: Device) throws { try convert { try $0.to(device: device) } }

  /// Lays out parameters of rank 4 (weights of 2-d convolutions) as asked. Convolutions then give
  /// their outputs in the same layout.
  public final func to(memoryFormat: MemoryFormat) throws {
    try convert { $0.rank == 4 ? try $0.laidOut(memoryFormat) : $0 }
  }

  private func convert(_ body: (Tensor) throws -> Tensor) throws {
    try withoutGradients {
      for (_, parameter) in namedParameters() { try parameter.replace(body) }
      for (_, buffer) in namedBuffers() { try buffer.replace(body) }
    }
  }

  /// Forgets the gradients of all parameters.
  public final func clearGradients() throws {
    for parameter in parameters { try parameter.value.setGradient(nil) }
  }
}
