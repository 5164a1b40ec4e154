/// How a tensor can be computed again from others that are kept anyway, so that it need not be kept itself.
public struct Recipe {
  /// What it is computed from.
  public let inputs: [Tensor]
  /// The tensor from the inputs, in the same order; called without gradient recording. It must not hold them itself: they
  /// go when the record releases them.
  public let compute: ([Tensor]) throws -> Tensor

  public init(_ inputs: [Tensor], compute: @escaping ([Tensor]) throws -> Tensor) {
    self.inputs = inputs
    self.compute = compute
  }

  /// The recipe of a function of this tensor.
  public func then(_ function: @escaping (Tensor) throws -> Tensor) -> Recipe {
    let compute = compute
    return Recipe(inputs) { try function(compute($0)) }
  }
}

extension Tensor {
  /// How this tensor can be computed again, if somebody has said so by ``attach(_:)``.
  public var recipe: Recipe? { box.recipe }

  /// The recipe, or the one that keeps this tensor itself.
  public var recipeOrSelf: Recipe { recipe ?? Recipe([self]) { $0[0] } }

  /// Says how this tensor can be computed again. Consumers that would keep it for their backward pass may then keep the
  /// recipe's inputs instead. The tensor must not be changed in place afterwards.
  public func attach(_ recipe: Recipe) { box.recipe = recipe }
}
