// swift-tools-version: 6.1
import PackageDescription

let libtorch = Context.environment["LIBTORCH"] ?? "\(Context.packageDirectory)/.libtorch"
let package = Package(
  name: "Norma",
  products: [
    .library(name: "Norma", targets: ["NormaTensor", "NormaNN", "NormaNormalization", "NormaModels"]),
  ],
  targets: [
    .target(name: "CTorch", cxxSettings: [.define("AT_PER_OPERATOR_HEADERS"),
      .unsafeFlags(["-isystem", "\(libtorch)/include", "-isystem", "\(libtorch)/include/torch/csrc/api/include"])],
      linkerSettings: [.linkedLibrary("torch_cpu"), .linkedLibrary("c10"), .linkedLibrary("m"),
      .unsafeFlags(["-L\(libtorch)/lib", "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/.libtorch/lib", "-Xlinker", "-rpath", "-Xlinker", "\(libtorch)/lib"])]),
    .target(name: "NormaTensor", dependencies: ["CTorch"]),
    .target(name: "NormaNN", dependencies: ["NormaTensor"]),
    .target(name: "NormaNormalization", dependencies: ["NormaNN"]),
    .target(name: "NormaModels", dependencies: ["NormaNormalization"]),
    .target(name: "NormaMetrics"),
    .target(name: "NormaRecords"),
    .target(name: "NormaTraining", dependencies: ["NormaNN", "NormaMetrics", "NormaRecords"]),
    .target(name: "TestSupport", path: "Tests/TestSupport"),
    .testTarget(name: "NormaNormalizationTests", dependencies: ["NormaNormalization", "TestSupport"]),
    .testTarget(name: "NormaModelsTests", dependencies: ["NormaModels"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx20
)
