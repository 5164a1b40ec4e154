import ArgumentParser
import NormaRecords

/// The networks that `norma train` and `norma compare` know by name.
enum ModelName: String, ExpressibleByArgument, CaseIterable {
  case unet

  /// Where the command line gives nothing.
  var defaults: (epochs: Int, batchSize: Int) {
    switch self {
    case .unet: (5, 1)
    }
  }

  /// What norms can be compared by; the first one unless told otherwise.
  var scores: [ScoreName] {
    switch self {
    case .unet: [.iou, .accuracy, .dice, .loss, .rand, .info, .randError, .warpingError]
    }
  }

  static let help = ArgumentHelp(
    "The network: \(allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "name")

  /// What every network takes where the command line gives nothing, for help.
  static func defaultsTold(_ value: (ModelName) -> String) -> String {
    let all = allCases.map { (name: $0.rawValue, value: value($0)) }
    guard Set(all.map(\.value)).count > 1 else { return all[0].value }
    return all.map { "\($0.value) for \($0.name)" }.joined(separator: ", ")
  }

  /// The options that not all networks have, by their names, and who has them.
  private static let options: [String: Set<ModelName>] = [:]

  /// - Parameter given: names of options that the command line gives and that not all networks have.
  func check(given: [String]) throws {
    for name in given {
      if let models = Self.options[name], !models.contains(self) {
        let names = Self.allCases.filter(models.contains).map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--\(name) is for --model \(names), not for \(rawValue): leave it out.")
      }
    }
  }
}
