/// A Swift number that may stand beside a tensor.
public protocol TensorScalar {
  var argument: OperatorArgument { get }
}
extension Int: TensorScalar { public var argument: OperatorArgument { .int(self) } }
extension Double: TensorScalar { public var argument: OperatorArgument { .double(self) } }
extension Float: TensorScalar { public var argument: OperatorArgument { .double(Double(self)) } }

// Shapes broadcast as in NumPy: aligned at the last dimension, an extent of 1 is repeated.
extension Tensor {
  public static func + (a: Tensor, b: Tensor) throws -> Tensor { try Op.add(a, b) }
  public static func - (a: Tensor, b: Tensor) throws -> Tensor { try Op.subtract(a, b) }
  public static func * (a: Tensor, b: Tensor) throws -> Tensor { try Op.multiply(a, b) }
  public static func / (a: Tensor, b: Tensor) throws -> Tensor { try Op.divide(a, b) }

  public static func + (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.addScalar(.tensor(a), b.argument)
  }
  public static func - (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.subtractScalar(.tensor(a), b.argument)
  }
  public static func * (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.multiplyScalar(.tensor(a), b.argument)
  }
  public static func / (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.divideScalar(.tensor(a), b.argument)
  }
  public static func + (a: some TensorScalar, b: Tensor) throws -> Tensor { try b + a }
  public static func * (a: some TensorScalar, b: Tensor) throws -> Tensor { try b * a }
  public static func - (a: some TensorScalar, b: Tensor) throws -> Tensor {
    try Op.reverseSubtract(.tensor(b), a.argument)
  }
  public static func / (a: some TensorScalar, b: Tensor) throws -> Tensor { try b.reciprocal() * a }

  public static prefix func - (a: Tensor) throws -> Tensor { try Op.negative(.tensor(a)) }

  /// Adds `scale · other` in place.
  public func add(_ other: Tensor, scale: some TensorScalar = 1) throws {
    try Op.addInPlace.run(.tensor(self), .tensor(other), scale.argument)
  }

  /// Adds a number in place.
  public func add(scalar: some TensorScalar) throws { try Op.addScalarInPlace.run(.tensor(self), scalar.argument) }

  /// Adds `a · b` in place, with broadcasting of both.
  public func addProduct(_ a: Tensor, _ b: Tensor) throws {
    try Op.addProductInPlace.run(.tensor(self), .tensor(a), .tensor(b))
  }

  /// Multiplies in place.
  public func scale(by factor: Double) throws {
    try Op.multiplyScalarInPlace.run(.tensor(self), .double(factor))
  }

  /// Moves every element the given share of the way to the other's, in place.
  public func lerp(to other: Tensor, share: Double) throws {
    try Op.lerpInPlace.run(.tensor(self), .tensor(other), .double(share))
  }

  public func reciprocal() throws -> Tensor { try Op.reciprocal(.tensor(self)) }
  public func abs() throws -> Tensor { try Op.abs(.tensor(self)) }
  public func exp() throws -> Tensor { try Op.exp(.tensor(self)) }
  public func log() throws -> Tensor { try Op.log(.tensor(self)) }
  public func squareRoot() throws -> Tensor { try Op.sqrt(.tensor(self)) }
  /// 1 / √x.
  public func reciprocalSquareRoot() throws -> Tensor { try Op.rsqrt(.tensor(self)) }
  public func squared() throws -> Tensor { try self * self }
  public func power(_ exponent: Double) throws -> Tensor { try Op.power(.tensor(self), .double(exponent)) }

  /// Elements below `lower` or above `upper` are replaced by that bound.
  public func clamped(from lower: Double? = nil, to upper: Double? = nil) throws -> Tensor {
    try Op.clamp(.tensor(self), .optional(lower), .optional(upper))
  }

  public static func maximum(_ a: Tensor, _ b: Tensor) throws -> Tensor {
    try Op.maximum(.tensor(a), .tensor(b))
  }
  public static func minimum(_ a: Tensor, _ b: Tensor) throws -> Tensor {
    try Op.minimum(.tensor(a), .tensor(b))
  }
}

// MARK: - Comparison

// Element by element, giving tensors of type bool.
extension Tensor {
  public static func .< (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.less(.tensor(a), b.argument)
  }
  public static func .> (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.greater(.tensor(a), b.argument)
  }
  public static func .<= (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.lessOrEqual(.tensor(a), b.argument)
  }
  public static func .>= (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.greaterOrEqual(.tensor(a), b.argument)
  }
  public static func .== (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.equal(.tensor(a), b.argument)
  }
  public static func .!= (a: Tensor, b: some TensorScalar) throws -> Tensor {
    try Op.notEqual(.tensor(a), b.argument)
  }
  public static func .== (a: Tensor, b: Tensor) throws -> Tensor {
    try Op.equalTensor(.tensor(a), .tensor(b))
  }

  /// Elements of the other tensor where the condition holds, else those of `self`.
  public func replaced(with other: Tensor, where condition: Tensor) throws -> Tensor {
    try Op.select(.tensor(condition), .tensor(other), .tensor(self))
  }

  /// Whether every element is neither infinite nor NaN.
  public func allFinite() throws -> Bool {
    try Op.isFinite(.tensor(self)).all()
  }

  /// Whether every element is non-zero.
  public func all() throws -> Bool { try Op.all(.tensor(self)).item() != 0 }

  /// Whether two tensors have the same shape and differ nowhere by more than
  /// `absolute + relative · |other|`.
  public func isClose(to other: Tensor, relative: Double = 1e-5, absolute: Double = 1e-8) throws -> Bool {
    guard shape == other.shape else { return false }
    return try Op.isClose(.tensor(self), .tensor(other), .double(relative), .double(absolute)).all()
  }
}

extension Op {
  static let add = Operator("aten::add", "Tensor")
  static let subtract = Operator("aten::sub", "Tensor")
  static let multiply = Operator("aten::mul", "Tensor")
  static let divide = Operator("aten::div", "Tensor")
  static let addScalar = Operator("aten::add", "Scalar")
  static let subtractScalar = Operator("aten::sub", "Scalar")
  static let multiplyScalar = Operator("aten::mul", "Scalar")
  static let divideScalar = Operator("aten::div", "Scalar")
  static let reverseSubtract = Operator("aten::rsub", "Scalar")
  static let negative = Operator("aten::neg")
  static let addInPlace = Operator("aten::add_", "Tensor")
  static let addScalarInPlace = Operator("aten::add_", "Scalar")
  static let addProductInPlace = Operator("aten::addcmul_")
  static let lerpInPlace = Operator("aten::lerp_", "Scalar")
  static let multiplyScalarInPlace = Operator("aten::mul_", "Scalar")
  static let reciprocal = Operator("aten::reciprocal")
  static let abs = Operator("aten::abs")
  static let exp = Operator("aten::exp")
  static let log = Operator("aten::log")
  static let sqrt = Operator("aten::sqrt")
  static let rsqrt = Operator("aten::rsqrt")
  static let power = Operator("aten::pow", "Tensor_Scalar")
  static let clamp = Operator("aten::clamp")
  static let maximum = Operator("aten::maximum")
  static let minimum = Operator("aten::minimum")
  static let less = Operator("aten::lt", "Scalar")
  static let greater = Operator("aten::gt", "Scalar")
  static let lessOrEqual = Operator("aten::le", "Scalar")
  static let greaterOrEqual = Operator("aten::ge", "Scalar")
  static let equal = Operator("aten::eq", "Scalar")
  static let notEqual = Operator("aten::ne", "Scalar")
  static let equalTensor = Operator("aten::eq", "Tensor")
  static let select = Operator("aten::where", "self")
  static let isFinite = Operator("aten::isfinite")
  static let all = Operator("aten::all")
  static let isClose = Operator("aten::isclose")
}
