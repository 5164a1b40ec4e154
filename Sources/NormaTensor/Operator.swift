import CTorch

/// One argument of an operator call. It owns what it refers to until the call is over.
public enum OperatorArgument {
  /// The schema's default value.
  case `default`
  case none
  case tensor(Tensor)
  case int(Int)
  case double(Double)
  case bool(Bool)
  case dtype(DType)
  case device(Device)
  case memoryFormat(MemoryFormat)
  case generator(Generator)
  case ints([Int])
  case doubles([Double])
  case bools([Bool])
  case tensors([Tensor])
  case optionalTensors([Tensor?])
  indirect case string(String)

  /// The value, or none for nil.
  public static func optional(_ tensor: Tensor?) -> OperatorArgument { tensor.map(OperatorArgument.tensor) ?? .none }
  public static func optional(_ value: Double?) -> OperatorArgument { value.map(OperatorArgument.double) ?? .none }
  public static func optional(_ generator: Generator?) -> OperatorArgument {
    generator.map(OperatorArgument.generator) ?? .none
  }
}

extension OperatorArgument: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByNilLiteral
{
  public init(integerLiteral value: Int) { self = .int(value) }
  public init(floatLiteral value: Double) { self = .double(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(nilLiteral: ()) { self = .none }
}

/// An operator of libtorch, found once by name and overload and then called with positional
/// arguments in the order of its schema.
///
/// ```swift
/// static let convolution = Operator("aten::convolution")
/// let y = try convolution(.tensor(x), .tensor(weight), .none, .ints([1, 1]), …)
/// ```
public struct Operator: @unchecked Sendable {
  public let name: String
  private let entry: CTOperator?
  private let failure: String

  public init(_ name: String, _ overload: String = "") {
    self.name = name
    if let mismatch = Runtime.mismatch {
      entry = nil
      failure = mismatch
    } else {
      entry = ct_operator(name, overload)
      failure = entry == nil ? String(cString: ct_error_message()) : ""
    }
  }

  /// Calls the operator and returns its first result, which must be a tensor.
  @discardableResult
  public func callAsFunction(_ arguments: OperatorArgument...) throws -> Tensor {
    try withResults(arguments) { results in
      guard let first = results.first, first.tag == CTTagTensor else {
        for other in results { release(other) }
        throw TensorError(operation: name, message: "the operator returned no tensor")
      }
      for other in results.dropFirst() { release(other) }
      return Tensor(owning: CTTensor(bitPattern: UInt(first.bits))!)
    }
  }

  /// Calls the operator with two tensors: the shortest way, for arithmetic.
  func callAsFunction(_ a: Tensor, _ b: Tensor) throws -> Tensor {
    guard let entry else { throw TensorError(operation: name, message: failure) }
    return try withExtendedLifetime((a, b)) {
      var values = (
        CTValue(tag: Int32(CTTagTensor), count: 0, bits: UInt64(UInt(bitPattern: a.handle))),
        CTValue(tag: Int32(CTTagTensor), count: 0, bits: UInt64(UInt(bitPattern: b.handle)))
      )
      var results: UnsafePointer<CTValue>?
      let count = withUnsafePointer(to: &values) {
        $0.withMemoryRebound(to: CTValue.self, capacity: 2) { ct_call(entry, $0, 2, &results) }
      }
      guard count == 1, let results, results[0].tag == CTTagTensor else { throw TensorError.last(name) }
      let result = Tensor(owning: CTTensor(bitPattern: UInt(results[0].bits))!)
      OperatorTrace.add(name, [.tensor(a), .tensor(b)]) { [result] }
      return result
    }
  }

  /// Calls the operator and returns all tensors of its results; nil stands for an undefined one.
  public func all(_ arguments: OperatorArgument...) throws -> [Tensor?] {
    try withResults(arguments) { results in
      results.map {
        $0.tag == CTTagTensor ? Tensor(owning: CTTensor(bitPattern: UInt($0.bits))!) : nil
      }
    }
  }

  /// Calls an operator for its effect.
  public func run(_ arguments: OperatorArgument...) throws {
    try withResults(arguments) { results in
      for result in results { release(result) }
    }
  }

  private func release(_ value: CTValue) {
    if value.tag == CTTagTensor { ct_tensor_release(CTTensor(bitPattern: UInt(value.bits))) }
  }

  private func withResults<Result>(
    _ arguments: [OperatorArgument], _ read: (UnsafeBufferPointer<CTValue>) throws -> Result
  ) throws -> Result {
    guard let entry else { throw TensorError(operation: name, message: failure) }
    var extra = 0
    for argument in arguments { extra += argument.listLength }
    // The arguments own their tensors: they must outlive the call.
    return try withExtendedLifetime(arguments) {
      try withUnsafeTemporaryAllocation(of: CTValue.self, capacity: arguments.count) { values in
        try withUnsafeTemporaryAllocation(of: UInt64.self, capacity: extra) { lists in
          var free = lists.baseAddress
          for index in arguments.indices {
            values.initializeElement(at: index, to: arguments[index].pack(&free))
          }
          var results: UnsafePointer<CTValue>?
          let count = ct_call(entry, values.baseAddress, Int32(arguments.count), &results)
          guard count >= 0 else { throw TensorError.last(name) }
          let found = UnsafeBufferPointer(start: results, count: Int(count))
          OperatorTrace.add(name, arguments) {
            found.map {
              $0.tag == CTTagTensor ? Tensor(owning: ct_tensor_retain(CTTensor(bitPattern: UInt($0.bits))!)) : nil
            }
          }
          return try read(found)
        }
      }
    }
  }
}

extension OperatorArgument {
  /// 8-byte words that this argument's list takes in the scratch memory.
  fileprivate var listLength: Int {
    switch self {
    case .ints(let list): list.count
    case .doubles(let list): list.count
    case .bools(let list): list.count
    case .tensors(let list): list.count
    case .optionalTensors(let list): list.count
    case .string(let text): (text.utf8.count + 7) / 8
    default: 0
    }
  }

  fileprivate func pack(_ free: inout UnsafeMutablePointer<UInt64>?) -> CTValue {
    func value(_ tag: Int, _ bits: UInt64, count: Int = 0) -> CTValue {
      CTValue(tag: Int32(tag), count: Int32(count), bits: bits)
    }
    func list(_ tag: Int, _ count: Int, _ word: (Int) -> UInt64) -> CTValue {
      guard let start = free, count > 0 else { return value(tag, 0) }
      for index in 0..<count { start[index] = word(index) }
      free = start + count
      return value(tag, UInt64(UInt(bitPattern: start)), count: count)
    }
    func bits(_ pointer: OpaquePointer?) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }
    switch self {
    case .default: return value(CTTagDefault, 0)
    case .none: return value(CTTagNone, 0)
    case .tensor(let tensor): return value(CTTagTensor, bits(tensor.handle))
    case .int(let number): return value(CTTagInt, UInt64(bitPattern: Int64(number)))
    case .double(let number): return value(CTTagDouble, number.bitPattern)
    case .bool(let flag): return value(CTTagBool, flag ? 1 : 0)
    case .dtype(let dtype): return value(CTTagInt, UInt64(dtype.rawValue))
    case .memoryFormat(let format): return value(CTTagInt, UInt64(format.rawValue))
    case .device(let device): return value(CTTagDevice, UInt64(device.packed))
    case .generator(let generator): return value(CTTagGenerator, bits(generator.handle))
    case .ints(let numbers):
      return list(CTTagIntList, numbers.count) { UInt64(bitPattern: Int64(numbers[$0])) }
    case .doubles(let numbers): return list(CTTagDoubleList, numbers.count) { numbers[$0].bitPattern }
    case .bools(let flags): return list(CTTagBoolList, flags.count) { flags[$0] ? 1 : 0 }
    case .tensors(let tensors): return list(CTTagTensorList, tensors.count) { bits(tensors[$0].handle) }
    case .optionalTensors(let tensors):
      return list(CTTagOptionalTensorList, tensors.count) { bits(tensors[$0]?.handle) }
    case .string(let text):
      let utf8 = Array(text.utf8)
      guard let start = free, !utf8.isEmpty else { return value(CTTagString, 0) }
      UnsafeMutableRawPointer(start).copyMemory(from: utf8, byteCount: utf8.count)
      free = start + (utf8.count + 7) / 8
      return value(CTTagString, UInt64(UInt(bitPattern: start)), count: utf8.count)
    }
  }
}
